package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/grafana/dskit/kv/memberlist"
	"github.com/grafana/dskit/services"
)

// control is what tests call.
//
//	GET  /members                                  the members that this one takes for alive
//	GET  /keys                                     all keys, with what is stored
//	GET  /metrics                                  dskit's metrics
//	POST /cas?key=&replica=[&now=][&deleted=]      write a value; now in Unix milliseconds
//	POST /fill?prefix=&count=&replica=[&now=]      write many keys
//	POST /delete?key=                              delete a key
//	POST /sample?user=&cluster=&replica=           a sample: accepted (200) or deduplicated (202)
//	POST /api/v1/push                              remote write 1.0: judged, and forwarded if accepted
//	POST /load?member=&keys=&changes=&seconds=     write so many changes a second; what arrived of others'
//	POST /leave                                    leave the ring; answers when that is done
type control struct {
	service  *memberlist.KVInitService
	store    *memberlist.KV
	tracker  *tracker
	pusher   *pusher
	registry *prometheus.Registry

	leaveOnce sync.Once
	leaveErr  error
}

func newControl(service *memberlist.KVInitService, store *memberlist.KV, tracker *tracker, registry *prometheus.Registry) *control {
	return &control{service: service, store: store, tracker: tracker, registry: registry}
}

func (c *control) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /members", c.page(members))
	mux.Handle("GET /keys", c.page(c.keys))
	mux.Handle("GET /metrics", promhttp.HandlerFor(c.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("POST /cas", answer(c.cas))
	mux.HandleFunc("POST /fill", answer(c.fill))
	mux.HandleFunc("POST /delete", answer(c.delete))
	mux.HandleFunc("POST /sample", c.sample)
	mux.HandleFunc("POST /api/v1/push", c.pusher.push)
	mux.HandleFunc("POST /load", c.load)
	mux.HandleFunc("POST /leave", answer(func(*http.Request) error { return c.leave() }))
	return mux
}

// page renders what dskit shows on its own page: the only way to its members and to the state of keys.
func (c *control) page(render func(memberlist.StatusPageData) any) http.Handler {
	toJSON := func(data memberlist.StatusPageData) (template.HTML, error) {
		text, err := json.Marshal(render(data))
		return template.HTML(text), err
	}
	page := template.Must(template.New("page").Funcs(template.FuncMap{"render": toJSON}).Parse("{{ render . }}\n"))
	return memberlist.NewHTTPStatusHandler(c.service, page)
}

type member struct {
	Name string `json:"name"`
	Addr string `json:"addr"`
	// Bytes of the address: 4 or 16.
	Width int    `json:"width"`
	Meta  []byte `json:"meta"`
}

func members(data memberlist.StatusPageData) any {
	all := []member{}
	for _, node := range data.SortedMembers {
		all = append(all, member{Name: node.Name, Addr: node.Address(), Width: len(node.Addr), Meta: node.Meta})
	}
	return map[string]any{
		"self":    data.Memberlist.LocalNode().Name,
		"members": all,
		"health":  data.Memberlist.GetHealthScore(),
	}
}

type entry struct {
	*replicaDesc
	Codec   string `json:"codec"`
	Version uint   `json:"version"`
	Deleted bool   `json:"deleted"`
	// When the watch delivered the value, in Unix milliseconds; 0 if it has not.
	ArrivedAt int64 `json:"arrivedAt"`
}

func (c *control) keys(data memberlist.StatusPageData) any {
	arrivals := c.tracker.arrivals()
	all := map[string]entry{}
	for key, stored := range data.Store {
		one := entry{Codec: stored.CodecID, Version: stored.Version, Deleted: stored.Deleted}
		if value, err := c.store.Get(key, replicaDescCodec); err == nil {
			one.replicaDesc, _ = value.(*replicaDesc)
		}
		if arrived, ok := arrivals[key]; ok {
			one.ArrivedAt = arrived.UnixMilli()
		}
		all[key] = one
	}
	return all
}

func (c *control) cas(request *http.Request) error {
	query := request.URL.Query()
	key, replica := query.Get("key"), query.Get("replica")
	if key == "" || replica == "" {
		return errors.New("key and replica must be set")
	}
	now, err := millis(query.Get("now"), time.Now().UnixMilli())
	if err != nil {
		return err
	}
	deleted, err := millis(query.Get("deleted"), 0)
	if err != nil {
		return err
	}
	return c.put(request.Context(), key, replica, now, deleted)
}

// put elects a replica, or writes that the elected one was seen.
func (c *control) put(ctx context.Context, key, replica string, now, deleted int64) error {
	return c.store.CAS(ctx, key, replicaDescCodec, func(in any) (any, bool, error) {
		next := &replicaDesc{Replica: replica, ReceivedAt: now, DeletedAt: deleted, ElectedAt: now}
		if current, ok := in.(*replicaDesc); ok && current != nil {
			next.ElectedChanges = current.ElectedChanges
			if current.Replica == replica {
				next.ElectedAt = current.ElectedAt
			} else {
				next.ElectedChanges++
			}
		}
		return next, true, nil
	})
}

func (c *control) fill(request *http.Request) error {
	query := request.URL.Query()
	count, err := strconv.Atoi(query.Get("count"))
	if err != nil {
		return fmt.Errorf("count: %w", err)
	}
	now, err := millis(query.Get("now"), time.Now().UnixMilli())
	if err != nil {
		return err
	}
	for i := range count {
		key := query.Get("prefix") + strconv.Itoa(i)
		if err := c.put(request.Context(), key, query.Get("replica"), now, 0); err != nil {
			return err
		}
	}
	return nil
}

func (c *control) delete(request *http.Request) error {
	return c.store.Delete(request.URL.Query().Get("key"))
}

func (c *control) sample(writer http.ResponseWriter, request *http.Request) {
	query := request.URL.Query()
	accepted, elected, err := c.tracker.sample(request.Context(), query.Get("user"), query.Get("cluster"), query.Get("replica"))
	if err != nil {
		http.Error(writer, err.Error(), http.StatusServiceUnavailable)
		return
	}
	writer.Header().Set("Content-Type", "application/json")
	if !accepted {
		writer.WriteHeader(http.StatusAccepted)
	}
	_ = json.NewEncoder(writer).Encode(map[string]any{"accepted": accepted, "elected": elected})
}

// leave sends what is queued, leaves the ring and closes the gossip port.
func (c *control) leave() error {
	c.leaveOnce.Do(func() {
		ctx := context.Background()
		c.leaveErr = errors.Join(
			services.StopAndAwaitTerminated(ctx, c.store),
			services.StopAndAwaitTerminated(ctx, c.service),
		)
	})
	return c.leaveErr
}

// answer is 200 with an empty object, or 500 with the error.
func answer(call func(*http.Request) error) http.HandlerFunc {
	return func(writer http.ResponseWriter, request *http.Request) {
		if err := call(request); err != nil {
			http.Error(writer, err.Error(), http.StatusInternalServerError)
			return
		}
		writer.Header().Set("Content-Type", "application/json")
		_, _ = writer.Write([]byte("{}\n"))
	}
}

func millis(text string, otherwise int64) (int64, error) {
	if text == "" {
		return otherwise, nil
	}
	number, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not a time in milliseconds", text)
	}
	return number, nil
}
