package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Below this prefix are the keys of a load, which the tracker does not follow.
const loadPrefix = "load/"

// arrival is a change as the watch delivered it.
type arrival struct {
	Key string `json:"key"`
	// When it was written, and how long it took until it was here, milliseconds.
	Written int64 `json:"written"`
	Took    int64 `json:"took"`
}

// load writes keys of this member at a steady rate, and answers with all changes of other members that
// arrived meanwhile and shortly after. Clocks are compared: all members must run on one machine.
func (c *control) load(writer http.ResponseWriter, request *http.Request) {
	var numbers [4]int
	for i, name := range []string{"member", "keys", "changes", "seconds"} {
		number, err := strconv.Atoi(request.URL.Query().Get(name))
		if err != nil || number < 0 || (number == 0 && name != "member") {
			http.Error(writer, name+" must be a number", http.StatusBadRequest)
			return
		}
		numbers[i] = number
	}
	member, keys, changes, seconds := numbers[0], numbers[1], numbers[2], numbers[3]
	own := fmt.Sprintf("%s%d/", loadPrefix, member)
	ctx, stop := context.WithCancel(request.Context())
	defer stop()
	var mu sync.Mutex
	arrivals := []arrival{}
	go c.store.WatchPrefix(ctx, loadPrefix, replicaDescCodec, func(key string, value any) bool {
		if desc, ok := value.(*replicaDesc); ok && !strings.HasPrefix(key, own) {
			mu.Lock()
			arrivals = append(arrivals, arrival{key, desc.ReceivedAt, time.Now().UnixMilli() - desc.ReceivedAt})
			mu.Unlock()
		}
		return true
	})
	ticker := time.NewTicker(time.Second / time.Duration(changes))
	defer ticker.Stop()
	for i := range changes * seconds {
		<-ticker.C
		if err := c.put(ctx, own+strconv.Itoa(i%keys), "r1", time.Now().UnixMilli(), 0); err != nil {
			http.Error(writer, err.Error(), http.StatusInternalServerError)
			return
		}
	}
	// What is on its way.
	select {
	case <-ctx.Done():
	case <-time.After(3 * time.Second):
	}
	mu.Lock()
	defer mu.Unlock()
	writer.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(writer).Encode(arrivals)
}
