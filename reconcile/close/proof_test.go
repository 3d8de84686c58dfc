package close

import (
	"context"
	"fmt"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"

	"x402audit/schema"
)

func clickhouseSync(ctx context.Context) context.Context {
	return clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"mutations_sync": 1}))
}

// A proof and its manifest are as they were: others keep them. The verifier's test reads these files.
func TestProof(t *testing.T) {
	o := newOffice(t)
	o.bookkeeping([]uint64{0, 15_000_000, 15_000_000}, []uint64{0, 0, 0})
	var payments []schema.Payment
	for n := 1; n <= 5; n++ {
		payments = append(payments, o.payment(n, base, shop, at(1, n), uint64(n)*1_000_000, schema.Matched))
	}
	o.sweep(payments)
	r := o.mustClose("shop", 1, 2)
	golden(t, "manifest.json", append(r.Body, '\n'))
	for n := range payments {
		p, err := o.desk.Prove(t.Context(), payments[n].Key.ID(), "")
		if err != nil {
			t.Fatal(err)
		}
		b, err := pretty(p)
		if err != nil {
			t.Fatal(err)
		}
		golden(t, fmt.Sprintf("proof-%d.json", n), b)
	}
	// What became of one later is proved in the close that says so.
	payments[0].Refunded = schema.Units(7)
	o.sweep(payments[:1])
	o.mustClose("shop", 2, 3)
	p, err := o.desk.Prove(t.Context(), payments[0].Key.ID(), "shop/2")
	if err != nil || p.Tree != TreeAdjustments || p.Leaves != 1 || len(p.Path) != 0 {
		t.Errorf("proof of an adjustment: %+v, %v", p, err)
	}
	if _, err := o.desk.Prove(t.Context(), claimed(9, shop, 0, 0, schema.Expired).Key.ID(), ""); err == nil {
		t.Error("proved what no close holds")
	}
}
