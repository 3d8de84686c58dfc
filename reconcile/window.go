package reconcile

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"

	"x402audit/reconcile/findings"
	"x402audit/reconcile/match"
	"x402audit/schema"
)

// windowsCursor names what the window rules have looked at.
const windowsCursor = "windows"

// underWay is what it says while rows of inorganic_by_hour are written and their hours are not marked yet.
const underWay = `"under way"`

// looked is that cursor: an as-of point, and what the rules were told.
type looked struct {
	Evidence   uint64
	Finals     map[uint64]schema.BlockRef
	Rules      uint16
	Thresholds match.Thresholds
	Found      int // how many findings there were then: where others are there now, somebody has dropped or added some
}

// Windows runs the window rules over final evidence, as the last sweep left it, and replaces their findings whole. It answers how many changed. When nothing that they rest
// on has moved since the last time it does nothing. Of several processes one at a time does this: of two at once, the one that began earlier would take back what the other has found since.
func (a *Auditor) Windows(ctx context.Context) (changed int, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err = a.store.Alone(ctx, windowsCursor, func() error { changed, err = a.windows(ctx); return err }); err != nil {
		return changed, fmt.Errorf("looking over windows: %w", err)
	}
	if changed > 0 {
		a.log.Info("looked over windows", "changed", changed)
	}
	return changed, nil
}

func (a *Auditor) windows(ctx context.Context) (int, error) {
	swept, err := a.furthest(ctx)
	if err != nil {
		return 0, err
	}
	now := looked{Finals: map[uint64]schema.BlockRef{}, Rules: match.RuleVersion, Thresholds: a.cfg.Thresholds}
	for _, seq := range swept.Writers {
		now.Evidence += seq
	}
	for chain, head := range swept.AsOf.Heads {
		now.Finals[chain] = head.Final
	}
	known, err := schema.Findings.Select(ctx, a.store, "FINAL WHERE "+windowRules, nil)
	if err != nil {
		return 0, err
	}
	now.Found = len(known)
	body, err := json.Marshal(now) // maps are written in the order of their keys
	if err != nil {
		return 0, err
	}
	cursors, err := schema.Cursors.Select(ctx, a.store, "FINAL WHERE name = '"+windowsCursor+"'", nil)
	if err != nil || len(cursors) > 0 && cursors[0].Body == string(body) && !a.lookAnew || len(now.Finals) == 0 {
		return 0, err
	}
	// Whether all hours are marked of which something was written is not known of a look that was cut off, nor while others are at work.
	anew := a.lookAnew || a.own.together || len(cursors) > 0 && cursors[0].Body == underWay
	a.lookAnew = true

	found, err := a.look(ctx, now.Finals)
	if err != nil {
		return 0, err
	}
	version := schema.Version{Rules: match.RuleVersion, Evidence: now.Evidence}
	changed := findingRows.replace(known, found, everything, version)
	inorganic, marks, err := a.inorganic(ctx, found, version, anew)
	if err != nil {
		return 0, err
	}
	if len(inorganic) > 0 {
		if err := schema.Cursors.Insert(ctx, a.store, []schema.Cursor{{Name: windowsCursor, Seq: now.Evidence, Body: underWay}}); err != nil {
			return 0, err
		}
		if err := schema.InorganicByHour.Insert(ctx, a.store, inorganic); err != nil {
			return 0, err
		}
	}
	if err := a.tally.Mark(ctx, marks); err != nil {
		return 0, err
	}
	if err := schema.Findings.Insert(ctx, a.store, changed); err != nil {
		return 0, err
	}
	now.Found = len(found)
	if body, err = json.Marshal(now); err != nil {
		return 0, err
	}
	if err := schema.Cursors.Insert(ctx, a.store, []schema.Cursor{{Name: windowsCursor, Seq: now.Evidence, Body: string(body)}}); err != nil {
		return 0, err
	}
	a.lookAnew = false
	return len(changed), nil
}

// look runs all window rules over all chains.
func (a *Auditor) look(ctx context.Context, finals map[uint64]schema.BlockRef) (found []schema.Finding, err error) {
	for _, chain := range slices.Sorted(maps.Keys(finals)) {
		for _, rule := range findings.Windows(&a.cfg.Thresholds) {
			rows, err := a.window(ctx, rule, chain, finals[chain])
			if err != nil {
				return nil, fmt.Errorf("%s on chain %d: %w", rule.ID, chain, err)
			}
			found = append(found, rows...)
		}
	}
	return found, nil
}

// everything is in the scope of the window rules.
func everything(schema.Key) bool { return true }

// window runs one rule over one chain. Its memory is bounded: a long history is grouped and joined by way of the disk.
func (a *Auditor) window(ctx context.Context, rule findings.Rule, chain uint64, final schema.BlockRef) (found []schema.Finding, err error) {
	ctx = clickhouse.Context(ctx, clickhouse.WithParameters(findings.WindowParameters(chain, final, &a.cfg.Thresholds)),
		clickhouse.WithSettings(clickhouse.Settings{"max_bytes_before_external_group_by": 256 << 20, "max_bytes_before_external_sort": 256 << 20}))
	rows, err := a.store.Conn().Query(ctx, rule.Query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		f := schema.Finding{Key: schema.Key{ChainID: chain}, Rule: rule.ID, Severity: rule.Severity}
		var method string
		var atRisk *big.Int
		if err := rows.Scan(&f.Key.Token, &method, &f.Key.Authorizer, &f.Key.Nonce, &f.Detail, &f.Other, &atRisk, &f.Evidence); err != nil {
			return nil, err
		}
		f.Key.Method = schema.Method(method)
		if atRisk != nil {
			f.AtRisk.Known = true
			f.AtRisk.Units.SetFromBig(atRisk)
		}
		found = append(found, f)
	}
	return found, rows.Err()
}

// windowRules picks the findings of the window rules, and sweepRules all others: each replaces its own and leaves the other's alone.
var (
	windowRules = "rule IN ('" + strings.Join(findings.WindowIDs(), "', '") + "')"
	sweepRules  = "rule NOT IN ('" + strings.Join(findings.WindowIDs(), "', '") + "')"
)
