package main

import (
	"bytes"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"x402audit/cmd/x402audit/internal/devchain"
	"x402audit/schema"
	"x402audit/schema/enginetest"
)

func TestMain(m *testing.M) { enginetest.Main(m) }

// verify on a real node's chain: what it prints and its exit status, for a store that is right, one that is not, and a node that is gone.
func TestVerifyCommand(t *testing.T) {
	chain, err := devchain.Start(t.Context(), devchain.Options{
		Genesis: time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC), BlockInterval: 2 * time.Second, Progress: os.Stderr,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(chain.Close)
	merchant, payer, signer := devchain.Address(devchain.Key("verify", "merchant")), devchain.NewPayer("verify", "payer"), devchain.Key("verify", "signer")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(chain.Fund(t.Context(), devchain.Address(signer), payer.Address))
	must(chain.Mint(t.Context(), big.NewInt(1_000_000), payer.Address))
	facilitator := &devchain.Facilitator{Name: "A", Signer: signer, Chain: chain, Log: new(bytes.Buffer)}
	resource := devchain.Resource{URL: "https://api.example.com/weather", PayTo: merchant, Amount: big.NewInt(10_000)}
	for range 3 {
		now, err := chain.Now(t.Context())
		must(err)
		_, err = facilitator.Settle(t.Context(), payer.Pay(resource, 2, now), devchain.Honest)
		must(err)
	}
	must(chain.Mine(t.Context(), 5))

	dsn := enginetest.DSN(t)
	file := filepath.Join(t.TempDir(), "x402audit.yaml")
	must(os.WriteFile(file, fmt.Appendf(nil, `
clickhouse: {dsn: %q}
chains: [{name: base, rpc: [%q], from_block: 1, sample: 0.5}]
merchants: ["%s"]
http: {listen: "off"}
`, dsn, chain.URL, strings.ToLower(merchant.Hex())), 0o600))

	f := func(wantCode int, wantOut, wantErr string, args ...string) {
		t.Helper()
		var out, errs bytes.Buffer
		if code := run(append(args, "-c", file), nil, &out, &errs); code != wantCode || !strings.Contains(out.String(), wantOut) || !strings.Contains(errs.String(), wantErr) {
			t.Errorf("%s: exit code %d, out %q, err %q; want %d, %q, %q", strings.Join(args, " "), code, &out, &errs, wantCode, wantOut, wantErr)
		}
	}
	f(0, "", "judged 3 payments", "run", "--once")
	f(0, "they hold 3 settlements, 0 cancellations and 0 kept transfers\nbase: the store holds what the proved blocks hold\n", "", "verify")
	f(0, "base: blocks 2 to 3: 2 of 2 proved", "", "verify", "--chain", "base", "--from", "2", "--to", "3")
	f(2, "", `--chain: "bas" is none of base`, "verify", "--chain", "bas")
	f(3, "", "nothing is stored", "verify", "--to", "1000000")

	store, err := schema.Open(t.Context(), schema.Options{DSN: dsn})
	must(err)
	defer store.Close(t.Context())

	// Books that are right, that wait to be counted, that are wrong, and whose payments are.
	books := func(code int, out, err string) { t.Helper(); f(code, out, err, "verify", "--books") }
	write := func(statement string) { t.Helper(); must(store.Conn().Exec(t.Context(), statement)) }
	right := "every book is what is counted from payments\njudged 3 payments again\nnothing would change\n"
	books(0, right, "")
	write("INSERT INTO book_marks SELECT chain_id, hour, 'another', 'evidence', 1 FROM book_revenue_hours FINAL")
	books(3, "1 hours have changed and are not counted yet", "the books have not followed the evidence yet\n")
	f(0, "", "", "reconcile")
	books(0, right, "")
	write("INSERT INTO book_revenue_hours SELECT * REPLACE (arrayMap(units -> units + 1, gross_units) AS gross_units) FROM book_revenue_hours FINAL")
	books(1, " organic=true: gross_units is 1, counted 0\njudged 3 payments again\nnothing would change\n", "the books differ from what they are made of\n")
	f(0, "", "", "rebuild")
	books(0, right, "")
	write("INSERT INTO payments SELECT * REPLACE ('matched' AS verdict, version + 1 AS version) FROM payments FINAL LIMIT 1")
	books(1, "payments would change: 1 changed, 0 added, 0 removed\nmatched → pending: 1 payments, 0.010000 of token ", "the books differ from what they are made of\n")
	f(2, "", "--books is about everything in the store", "verify", "--books", "--chain", "base")

	rows, err := schema.Settlements.Select(t.Context(), store, "FINAL ORDER BY block_number LIMIT 1", nil)
	must(err)
	rows[0].Amount.SetUint64(9_999)
	must(schema.Settlements.Insert(t.Context(), store, rows))
	f(1, fmt.Sprintf("base: block %d, log %d: settlement in the store with other content\n", rows[0].BlockNumber, rows[0].LogIndex),
		"chain base: the store differs from the chain\n", "verify")
	chain.Close()
	f(3, "", "cannot be used", "verify")
}
