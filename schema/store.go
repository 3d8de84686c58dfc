package schema

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/ch-go"
	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"x402audit/schema/engine"
)

// Store is a connection to ClickHouse: a server named by a DSN, or the embedded engine on a folder. Both speak the same
// protocol and the same SQL.
type Store struct {
	conn   driver.Conn
	native *native        // nil for a server that is reached over HTTP
	engine *engine.Engine // nil for a server

	cluster   Cluster
	retention Retention
	holder    holder
}

// Options name the store. DSN is "embedded:DIR", or a clickhouse://, http:// or https:// address with user, password and database.
type Options struct {
	DSN       string
	Cluster   Cluster
	Retention Retention
	Engine    engine.Options // of the embedded engine; its Dir comes from the DSN
}

// ErrDSN is answered for a DSN that names no store.
var ErrDSN = errors.New(`clickhouse.dsn is neither "embedded:DIR" nor a clickhouse://, http:// or https:// address`)

// Open connects, and starts the embedded engine when the DSN asks for it and no other process runs it on that folder yet.
func Open(ctx context.Context, o Options) (*Store, error) {
	if dir, ok := strings.CutPrefix(o.DSN, "embedded:"); ok {
		if o.Cluster.Name != "" {
			return nil, fmt.Errorf("%w: the embedded engine is one server; name a node of the cluster in clickhouse.dsn", ErrCluster)
		}
		o.Engine.Dir = dir
		o.Engine.ReaderGrants = readerGrants(engine.Database)
		e, err := engine.Open(ctx, o.Engine)
		if err != nil {
			return nil, fmt.Errorf("opening the embedded engine on %s: %w", dir, err)
		}
		s, err := connect(ctx, &clickhouse.Options{
			Addr: []string{e.NativeAddr},
			Auth: clickhouse.Auth{Database: engine.Database, Username: e.User, Password: e.Password},
		})
		if err != nil {
			return nil, errors.Join(err, e.Close(ctx))
		}
		s.engine, s.retention = e, o.Retention
		s.native.options.Compression = ch.CompressionDisabled // on this machine it costs more than it saves
		return s, nil
	}
	s, err := dial(ctx, o.DSN, o.Cluster)
	if err == nil {
		s.retention = o.Retention
	}
	return s, err
}

// dial connects to a server, which may be a node of a cluster. What the DSN itself sets stands.
func dial(ctx context.Context, dsn string, cluster Cluster) (*Store, error) {
	scheme, _, _ := strings.Cut(dsn, "://")
	if !slices.Contains([]string{"clickhouse", "http", "https"}, scheme) {
		return nil, ErrDSN
	}
	options, err := clickhouse.ParseDSN(dsn)
	if err != nil || len(options.Addr) == 0 || options.Addr[0] == "" {
		return nil, ErrDSN
	}
	if cluster.Name != "" {
		given := options.Settings
		options.Settings = cluster.settings()
		maps.Copy(options.Settings, given)
	}
	s, err := connect(ctx, options)
	if err != nil {
		return nil, fmt.Errorf("connecting to ClickHouse at %s: %w", strings.Join(options.Addr, ","), err)
	}
	s.cluster = cluster
	return s, nil
}

func connect(ctx context.Context, o *clickhouse.Options) (*Store, error) {
	if o.Settings == nil {
		o.Settings = clickhouse.Settings{}
	}
	// Our own async writes would be acknowledged before they are durable.
	o.Settings["async_insert"] = 0
	// A log can hold records of any time, and so of any number of months.
	o.Settings["max_partitions_per_insert_block"] = 0
	if o.Compression == nil {
		o.Compression = &clickhouse.Compression{Method: clickhouse.CompressionLZ4}
	}
	o.DialTimeout = 10 * time.Second
	o.MaxOpenConns, o.MaxIdleConns = 16, 8
	conn, err := clickhouse.Open(o)
	if err != nil {
		return nil, err
	}
	if err := conn.Ping(ctx); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &Store{conn: conn, native: newNative(o), holder: holder{renewEvery: renewEvery, goneAfter: goneAfter}}, nil
}

// Conn is the connection, for queries that are no typed read of one table.
func (s *Store) Conn() driver.Conn { return s.conn }

// Engine is the embedded engine, nil for a server.
func (s *Store) Engine() *engine.Engine { return s.engine }

// Close gives back the names that this process holds and ends the connection, and the embedded engine when this process was its last user.
func (s *Store) Close(ctx context.Context) error {
	s.holder.release(ctx, s)
	err := s.conn.Close()
	if s.native != nil {
		s.native.close()
	}
	if s.engine != nil {
		err = errors.Join(err, s.engine.Close(ctx))
	}
	return err
}
