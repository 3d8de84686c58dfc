package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"x402audit/schema/engine"
)

// prepare makes dir a folder of the demo's that holds nothing but the mark of it, in the configuration's place: a demo that is cut short leaves a
// folder that the next one may replace.
func prepare(ctx context.Context, dir string) error {
	if err := empty(ctx, dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("the folder for the demo: %w", err)
	}
	return os.WriteFile(filepath.Join(dir, ConfigFile), []byte(firstLine+"\n"), 0o600)
}

// empty removes what a former demo wrote, and nothing else: a folder that holds anything else is refused.
func empty(ctx context.Context, dir string) error {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("the folder for the demo: %w", err)
	case len(entries) == 0:
		return nil
	}
	first, _ := os.ReadFile(filepath.Join(dir, ConfigFile))
	if !strings.HasPrefix(string(first), firstLine+"\n") {
		return fmt.Errorf("%s is not empty and no demo wrote it: name another folder with --keep DIR", dir)
	}
	ours := map[string]bool{ConfigFile: true, LogA: true, LogB: true, LogServer: true, engineData: true, grafanaDir: true}
	for _, entry := range entries {
		if !ours[entry.Name()] {
			return fmt.Errorf("%s holds %s, which no demo wrote: move it away, or name another folder with --keep DIR", dir, entry.Name())
		}
	}
	waiting, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := engine.Ended(waiting, filepath.Join(dir, engineData)); err != nil {
		return fmt.Errorf("%s is in use by another command: wait for it, or name another folder with --keep DIR: %w", dir, err)
	}
	// The configuration goes last: until then the folder is known for what it is.
	for _, name := range []string{engineData, grafanaDir, LogA, LogB, LogServer, ConfigFile} {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("removing the former demo: %w", err)
		}
	}
	return nil
}
