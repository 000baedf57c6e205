// memberlist-go is a member of a gossip ring made of the code that Grafana Mimir runs: dskit's
// key-value store on memberlist. Tests start it beside other members and control it over HTTP.
//
// Settings of the ring are dskit's own flags (-memberlist.*). The first line on standard output is
// a JSON object with the addresses on which it listens.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/grafana/dskit/dns"
	"github.com/grafana/dskit/kv/codec"
	"github.com/grafana/dskit/kv/memberlist"
	"github.com/grafana/dskit/services"
)

type options struct {
	listen   string
	logLevel string
	kv       memberlist.KVConfig
	ha       haOptions
	// Where accepted samples go.
	downstream string
}

func main() {
	var opts options
	flags := flag.NewFlagSet("memberlist-go", flag.ExitOnError)
	version := flags.Bool("version", false, "Print the version of dskit and exit.")
	flags.StringVar(&opts.listen, "control.listen", "127.0.0.1:0", "Address of the control port.")
	flags.StringVar(&opts.logLevel, "log.level", "info", "debug, info, warn or error.")
	opts.kv.RegisterFlags(flags)
	opts.ha.registerFlags(flags)
	registerPushFlags(flags, &opts.downstream)
	_ = flags.Parse(os.Args[1:])
	if flags.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "unknown argument:", flags.Arg(0))
		os.Exit(2)
	}
	if *version {
		fmt.Println("memberlist-go with dskit", dskitVersion())
		return
	}
	if err := run(opts); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// dskitVersion is what the program was built with.
func dskitVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, module := range info.Deps {
		if module.Path == "github.com/grafana/dskit" {
			return module.Version
		}
	}
	return "unknown"
}

func run(opts options) error {
	logger, err := newLogger(opts.logLevel)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()

	registry := prometheus.NewRegistry()
	opts.kv.Codecs = []codec.Codec{replicaDescCodec}
	provider := dns.NewProvider(dns.GolangResolverType, 2, logger, registry)
	service := memberlist.NewKVInitService(&opts.kv, logger, provider, registry)
	if err := services.StartAndAwaitRunning(ctx, service); err != nil {
		return err
	}
	store, err := service.GetMemberlistKV()
	if err != nil {
		return err
	}
	if err := store.AwaitRunning(ctx); err != nil {
		return fmt.Errorf("joining the ring: %w", err)
	}

	tracker := newTracker(opts.ha, store, logger)
	go tracker.watch(ctx)
	go tracker.refresh(ctx)

	listener, err := net.Listen("tcp", opts.listen)
	if err != nil {
		return err
	}
	control := newControl(service, store, tracker, registry)
	control.pusher = newPusher(opts.downstream, tracker)
	server := &http.Server{Handler: control.handler(), ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	addresses := map[string]any{
		"control": listener.Addr().String(),
		"gossip":  store.GetListeningPort(),
	}
	if err := json.NewEncoder(os.Stdout).Encode(addresses); err != nil {
		return err
	}

	select {
	case <-ctx.Done():
	case err := <-failed:
		return err
	}
	// What is pushed is answered first.
	drain, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return errors.Join(server.Shutdown(drain), control.leave())
}

func newLogger(name string) (log.Logger, error) {
	allowed, err := level.Parse(name)
	if err != nil {
		return nil, fmt.Errorf("-log.level %s: %w", name, err)
	}
	logger := log.NewLogfmtLogger(log.NewSyncWriter(os.Stderr))
	logger = level.NewFilter(logger, level.Allow(allowed))
	return log.With(logger, "ts", log.DefaultTimestampUTC), nil
}
