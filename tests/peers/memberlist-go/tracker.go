package main

import (
	"context"
	"flag"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"

	"github.com/grafana/dskit/kv/memberlist"
)

type haOptions struct {
	prefix          string
	updateTimeout   time.Duration
	updateJitter    time.Duration
	failoverTimeout time.Duration
}

func (o *haOptions) registerFlags(flags *flag.FlagSet) {
	flags.StringVar(&o.prefix, "ha.prefix", "ha-tracker/", "Prefix of the HA tracker's keys.")
	flags.DurationVar(&o.updateTimeout, "ha.update-timeout", 15*time.Second, "An entry younger than this is not written again.")
	flags.DurationVar(&o.updateJitter, "ha.update-timeout-jitter-max", 5*time.Second, "Most that is added to the update timeout, or taken from it.")
	flags.DurationVar(&o.failoverTimeout, "ha.failover-timeout", 30*time.Second, "How long the elected replica must be silent before another one is elected.")
}

// elected is what a tracker knows of one cluster.
type elected struct {
	replicaDesc
	// When the replica was last seen here.
	seen time.Time
	// The last other replica that was seen here, and when.
	other     string
	otherSeen time.Time
	// When the watch delivered this value.
	arrived time.Time
}

// tracker runs Mimir's election on the store. A sample of a known cluster is judged by what is known
// here; the store is written by a task, or at once when the cluster is new.
type tracker struct {
	options haOptions
	store   *memberlist.KV
	logger  log.Logger
	jitter  time.Duration

	mu       sync.Mutex
	clusters map[string]elected
}

func newTracker(options haOptions, store *memberlist.KV, logger log.Logger) *tracker {
	jitter := time.Duration(0)
	if options.updateJitter > 0 {
		jitter = rand.N(2*options.updateJitter) - options.updateJitter
	}
	return &tracker{options: options, store: store, logger: logger, jitter: jitter, clusters: map[string]elected{}}
}

// watch follows what is stored, by whatever member it was written.
func (t *tracker) watch(ctx context.Context) {
	t.store.WatchPrefix(ctx, t.options.prefix, replicaDescCodec, func(key string, value any) bool {
		if desc, ok := value.(*replicaDesc); ok {
			t.take(key, desc)
		}
		return true
	})
}

// take keeps what is stored.
func (t *tracker) take(key string, desc *replicaDesc) {
	name := strings.TrimPrefix(key, t.options.prefix)
	t.mu.Lock()
	defer t.mu.Unlock()
	if desc.DeletedAt > 0 {
		delete(t.clusters, name)
		return
	}
	known := t.clusters[name]
	if known.replicaDesc == *desc {
		return
	}
	if known.Replica != desc.Replica {
		known.seen = time.Time{}
		if known.other == desc.Replica {
			known.seen = known.otherSeen
		}
	}
	known.replicaDesc = *desc
	known.arrived = time.Now()
	t.clusters[name] = known
}

// arrivals returns when the watch delivered the value of each key that is known here.
func (t *tracker) arrivals() map[string]time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	arrivals := make(map[string]time.Time, len(t.clusters))
	for name, cluster := range t.clusters {
		arrivals[t.options.prefix+name] = cluster.arrived
	}
	return arrivals
}

// sample judges a sample: whether it is accepted, and which replica is elected.
func (t *tracker) sample(ctx context.Context, user, cluster, replica string) (bool, string, error) {
	name := user + "/" + cluster
	now := time.Now()
	if accepted, elected, known := t.judge(name, replica, now); known {
		return accepted, elected, nil
	}
	if err := t.update(ctx, name, replica, now, now); err != nil {
		return false, "", err
	}
	accepted, elected, _ := t.judge(name, replica, now)
	return accepted, elected, nil
}

func (t *tracker) judge(name, replica string, now time.Time) (accepted bool, elected string, known bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	cluster, known := t.clusters[name]
	if !known {
		return false, "", false
	}
	accepted = cluster.Replica == replica
	if accepted {
		cluster.seen = now
	} else {
		cluster.other, cluster.otherSeen = replica, now
	}
	t.clusters[name] = cluster
	return accepted, cluster.Replica, true
}

// refresh writes what is due.
func (t *tracker) refresh(ctx context.Context) {
	// As often as Rust distributors check, so that a failover comes soon after it is due.
	ticker := time.NewTicker(max(t.options.updateTimeout/5, 10*time.Millisecond))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			t.writeDue(ctx)
		}
	}
}

func (t *tracker) writeDue(ctx context.Context) {
	now := time.Now()
	timeout := t.options.updateTimeout + t.jitter
	type due struct {
		name, replica string
		seen          time.Time
	}
	var all []due
	t.mu.Lock()
	for name, cluster := range t.clusters {
		if now.Sub(time.UnixMilli(cluster.ReceivedAt)) < timeout {
			continue
		}
		if now.Sub(cluster.seen) < timeout {
			all = append(all, due{name, cluster.Replica, cluster.seen})
		} else if now.Sub(cluster.otherSeen) < timeout {
			all = append(all, due{name, cluster.other, cluster.otherSeen})
		}
	}
	t.mu.Unlock()
	for _, one := range all {
		if err := t.update(ctx, one.name, one.replica, one.seen, now); err != nil {
			level.Warn(t.logger).Log("msg", "cannot write an election", "cluster", one.name, "err", err)
		}
	}
}

// update lets the rule decide about a candidate, and keeps what is stored then.
func (t *tracker) update(ctx context.Context, name, replica string, seen, now time.Time) error {
	key := t.options.prefix + name
	var stored *replicaDesc
	err := t.store.CAS(ctx, key, replicaDescCodec, func(in any) (out any, retry bool, err error) {
		current, _ := in.(*replicaDesc)
		next := t.decide(current, replica, seen, now)
		if next == nil {
			stored = current
			return nil, false, nil
		}
		stored = next
		return next, true, nil
	})
	if err != nil {
		return err
	}
	if stored != nil {
		clone := *stored
		t.take(key, &clone)
	}
	return nil
}

// decide is Mimir's rule: what is to be stored, or nil when nothing changes.
func (t *tracker) decide(current *replicaDesc, replica string, seen, now time.Time) *replicaDesc {
	if current == nil || current.DeletedAt > 0 {
		next := &replicaDesc{Replica: replica, ReceivedAt: seen.UnixMilli(), ElectedAt: now.UnixMilli()}
		if current != nil {
			next.ElectedChanges = current.ElectedChanges
		}
		return next
	}
	age := now.Sub(time.UnixMilli(current.ReceivedAt))
	if age < t.options.updateTimeout+t.jitter {
		return nil
	}
	next := *current
	next.ReceivedAt = seen.UnixMilli()
	if current.Replica == replica {
		if next.ElectedAt == 0 {
			next.ElectedAt = now.UnixMilli()
		}
		if next == *current {
			return nil
		}
		return &next
	}
	if age < t.options.failoverTimeout {
		return nil
	}
	next.Replica = replica
	next.ElectedAt = now.UnixMilli()
	next.ElectedChanges++
	return &next
}
