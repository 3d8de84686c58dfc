package reconcile

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"x402audit/reconcile/match"
	"x402audit/schema"
)

// noteRules records when this version of the rules was first used on a store, so that figures that change with it can be told from figures that evidence has changed. It is
// the record's own clock: no verdict looks at it.
func (a *Auditor) noteRules(ctx context.Context) error {
	name := fmt.Sprintf("rules:%d", match.RuleVersion)
	known, err := schema.Cursors.Select(ctx, a.store, "FINAL WHERE name = {name:String}", clickhouse.Parameters{"name": name})
	if err != nil || len(known) > 0 {
		return err
	}
	body, err := json.Marshal(map[string]int64{"since": time.Now().Unix()})
	if err != nil {
		return err
	}
	return schema.Cursors.Insert(ctx, a.store, []schema.Cursor{{Name: name, Seq: 1, Body: string(body)}})
}
