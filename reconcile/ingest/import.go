package ingest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"x402audit/reconcile/formats"
	"x402audit/schema"
)

// Summary is what an import has read.
type Summary struct {
	Files      int
	Lines      uint64
	Bytes      uint64            // of a packed file: of what it holds
	Claims     uint64            // a claim that was there before, or twice, counts each time
	Deliveries uint64            // likewise
	Transfers  uint64            // of a gateway's list, likewise
	Rejects    map[string]uint64 // by reason
	Skipped    uint64            // records older than the source's since
}

// Import reads files once, each whole, its last line included whether or not a newline ends it. The source's own path is not used. A file that
// cannot be read does not keep the others from being read; the error has one sentence for each. Files packed by gzip or zstd are
// unpacked, and one that is a JSON array is read element by element. progress, if given, hears of bytes read and bytes in
// all. Importing a file again, also after it has grown, makes no second row; other content under the same name is a generation of its own.
func Import(ctx context.Context, store *schema.Store, source Source, options formats.Options, paths []string, progress func(read, total uint64)) (Summary, error) {
	sum := Summary{Rejects: map[string]uint64{}}
	var total uint64
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			total += uint64(info.Size())
		}
	}
	var errs []error
	var before uint64 // bytes of the files that are done
	for _, path := range paths {
		absolute, err := filepath.Abs(path)
		if err != nil {
			return sum, err
		}
		source.Path = path
		t, err := newStream(store, source, options, "import:"+source.Name+":"+absolute)
		if err != nil {
			return sum, err
		}
		t.state.Path = absolute
		t.stored = func(c *counts) {
			sum.add(c)
			if progress != nil {
				progress(before+t.consumed(), total)
			}
		}
		err = t.importFile(ctx)
		if info, statErr := os.Stat(path); statErr == nil && info.Mode().IsRegular() {
			before += uint64(info.Size())
		}
		if err != nil {
			errs = append(errs, err)
			if ctx.Err() != nil {
				break
			}
			continue
		}
		sum.Files++
	}
	return sum, errors.Join(errs...)
}

// importFile reads the file from its first byte.
func (t *stream) importFile(ctx context.Context) error {
	file, info, err := openFile(t.source.Path)
	if err != nil {
		return t.fault(err)
	}
	defer t.leave()
	t.file, t.packed, t.whole, t.limits = file, compressionOf(file), true, imported
	path := t.state.Path
	if _, err := t.writer.hold(ctx, t.writer.store.Await); err != nil {
		return fmt.Errorf("log %s: importing %s: %w", t.source.Name, path, err)
	}
	before, known, err := t.writer.load(ctx)
	if err != nil {
		return fmt.Errorf("log %s: %w", t.source.Name, err)
	}
	t.identify()
	t.state.Imported, t.state.Path = true, path
	t.state.Device, t.state.Inode = identity(info)
	if known {
		t.state.Generation = before.Generation
		if same, err := isAt(file, before.Offset, before.Fingerprint); err != nil || !same {
			t.state.Generation++
		} else {
			t.state.First, t.state.Last = before.First, before.Last
		}
	}
	if err := t.drain(ctx, true); err != nil {
		return err
	}
	state := t.state
	state.Ended = true
	if err := t.writer.write(ctx, t.writer.gather(), state); err != nil {
		return fmt.Errorf("log %s: %w", t.source.Name, err)
	}
	return nil
}

func (s *Summary) add(c *counts) {
	s.Lines += c.lines
	s.Bytes += c.bytes
	s.Claims += c.claims
	s.Deliveries += c.deliveries
	s.Transfers += c.transfers
	s.Skipped += c.skipped
	for reason, n := range c.rejects {
		s.Rejects[reason] += n
	}
}
