package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/golang/snappy"
	"google.golang.org/protobuf/encoding/protowire"
)

// What a request may have, compressed and not.
const maxPush = 16 << 20

// pusher is the push path of a distributor: it lets the tracker judge a request by its first series,
// as Mimir does, and forwards what is accepted without the replica's label.
type pusher struct {
	downstream string
	tracker    *tracker
	client     *http.Client
}

func registerPushFlags(flags *flag.FlagSet, downstream *string) {
	flags.StringVar(downstream, "push.downstream", "", "URL that accepted samples are forwarded to, by remote write 1.0.")
}

func newPusher(downstream string, tracker *tracker) *pusher {
	return &pusher{downstream: downstream, tracker: tracker, client: &http.Client{Timeout: 10 * time.Second}}
}

func (p *pusher) push(writer http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(writer, request.Body, maxPush))
	if err != nil {
		http.Error(writer, err.Error(), http.StatusBadRequest)
		return
	}
	write, cluster, replica, err := readPush(body)
	if err != nil {
		http.Error(writer, err.Error(), http.StatusBadRequest)
		return
	}
	user := request.Header.Get("X-Scope-OrgID")
	accepted, _, err := p.tracker.sample(request.Context(), user, cluster, replica)
	if err != nil {
		http.Error(writer, err.Error(), http.StatusServiceUnavailable)
		return
	}
	if !accepted {
		writer.WriteHeader(http.StatusAccepted)
		return
	}
	if err := p.forward(request, user, snappy.Encode(nil, write)); err != nil {
		http.Error(writer, err.Error(), http.StatusServiceUnavailable)
	}
}

func (p *pusher) forward(from *http.Request, user string, body []byte) error {
	request, err := http.NewRequestWithContext(from.Context(), http.MethodPost, p.downstream, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/x-protobuf")
	request.Header.Set("Content-Encoding", "snappy")
	request.Header.Set("X-Prometheus-Remote-Write-Version", "0.1.0")
	request.Header.Set("X-Scope-OrgID", user)
	answer, err := p.client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, answer.Body)
	if answer.StatusCode/100 != 2 {
		return fmt.Errorf("the downstream answers %s", answer.Status)
	}
	return nil
}

// readPush returns the request without replicas' labels, and cluster and replica of its first series.
func readPush(body []byte) (write []byte, cluster, replica string, err error) {
	decoded, err := snappy.Decode(nil, body)
	if err != nil {
		return nil, "", "", err
	}
	err = fields(decoded, func(number protowire.Number, whole, content []byte) error {
		if number != 1 {
			write = append(write, whole...)
			return nil
		}
		series, labels, err := withoutReplica(content)
		if err != nil {
			return err
		}
		if replica == "" {
			cluster, replica = labels["cluster"], labels["__replica__"]
		}
		write = protowire.AppendTag(write, 1, protowire.BytesType)
		write = protowire.AppendBytes(write, series)
		return nil
	})
	if err == nil && (cluster == "" || replica == "") {
		err = errors.New("the first series needs the labels cluster and __replica__")
	}
	return write, cluster, replica, err
}

func withoutReplica(series []byte) (rest []byte, labels map[string]string, err error) {
	labels = map[string]string{}
	err = fields(series, func(number protowire.Number, whole, content []byte) error {
		if number != 1 {
			rest = append(rest, whole...)
			return nil
		}
		var pair [2]string
		err := fields(content, func(number protowire.Number, _, content []byte) error {
			if number == 1 || number == 2 {
				pair[number-1] = string(content)
			}
			return nil
		})
		if err != nil {
			return err
		}
		labels[pair[0]] = pair[1]
		if pair[0] != "__replica__" {
			rest = append(rest, whole...)
		}
		return nil
	})
	return rest, labels, err
}

// fields calls take with each field of a message: all of it, and the content of one with a length.
func fields(message []byte, take func(number protowire.Number, whole, content []byte) error) error {
	for len(message) > 0 {
		number, kind, tag := protowire.ConsumeTag(message)
		if tag < 0 {
			return protowire.ParseError(tag)
		}
		size := protowire.ConsumeFieldValue(number, kind, message[tag:])
		if size < 0 {
			return protowire.ParseError(size)
		}
		var content []byte
		if kind == protowire.BytesType {
			content, _ = protowire.ConsumeBytes(message[tag:])
		}
		if err := take(number, message[:tag+size], content); err != nil {
			return err
		}
		message = message[tag+size:]
	}
	return nil
}
