package indexer

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/rpc"

	"x402audit/indexer/internal/rpctest"
	"x402audit/schema"
)

// tieOut is the view's word on a payTo and token, one line a checkpoint after the first.
func (w *world) tieOut(account, token schema.Address) (lines []string) {
	w.t.Helper()
	rows, err := w.store.Conn().Query(context.Background(), `SELECT from_block, to_block, toString(opening), toString(money_in), toString(money_out), toString(closing), toString(difference), state
		FROM tie_out WHERE chain_id = $1 AND pay_to = unhex($2) AND token = unhex($3) ORDER BY to_time`, w.id, fmt.Sprintf("%x", account), fmt.Sprintf("%x", token))
	if err != nil {
		w.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var from, to uint64
		var opening, closing, difference *string
		var in, out, state string
		if err := rows.Scan(&from, &to, &opening, &in, &out, &closing, &difference, &state); err != nil {
			w.t.Fatal(err)
		}
		show := func(s *string) string {
			if s == nil {
				return "-"
			}
			return *s
		}
		lines = append(lines, fmt.Sprintf("%d-%d: %s + %s - %s = %s, %s, %s", from, to, show(opening), in, out, show(closing), show(difference), state))
	}
	return lines
}

func (w *world) ties(account, token schema.Address, want ...string) {
	w.t.Helper()
	if got := w.tieOut(account, token); fmt.Sprint(got) != fmt.Sprint(want) {
		w.t.Errorf("tie-out is\n%q\nwant\n%q", got, want)
	}
}

// Balances are recorded where the index begins and at each boundary that the final block has passed, at the last block before it; what came and went in between accounts for them.
func TestBalances(t *testing.T) {
	store := openStore(t)
	f := func(multicall bool, more func(*world)) {
		t.Helper()
		w := newWorld(t, store)
		if multicall {
			w.chain.HasMulticall()
		}
		w.cfg.Accounts, w.cfg.BalancesEvery, w.cfg.FromBlock = []schema.Address{shop, route}, 2*time.Second, 3
		w.cfg.KeepTransfer = func(tr *schema.Transfer) bool { return tr.To == shop || tr.From == shop }
		w.restart()
		transfer := func(salt uint64, from, to schema.Address, amount uint64) rpctest.Tx {
			return rpctest.Tx{From: owner, To: usdc, Logs: []rpctest.Log{rpctest.Transfer(usdc, from, to, amount)}, Salt: salt}
		}
		w.chain.Mine(transfer(1, alice, shop, 1000)) // 1, before the index begins
		w.chain.MineEmpty(2)
		w.chain.Mine(pay(99))                      // 4: a settlement of 100
		w.chain.Mine(transfer(2, shop, alice, 30)) // 5: back
		w.chain.MineEmpty(4)
		w.chain.Mine(transfer(3, bob, shop, 5)) // 10: at the boundary of two seconds, and so behind it
		w.chain.MineEmpty(9)
		w.chain.Mine(transfer(4, shop, shop, 7)) // 20
		w.chain.MineEmpty(4)
		w.chain.Finalize(21, 21)
		more(w)
	}

	f(true, func(w *world) {
		w.catchUp()
		w.answer(0)
		w.ties(shop, usdc, "2-9: 1000 + 100 - 30 = 1070, 0, tied out", "9-19: 1070 + 5 - 0 = 1075, 0, tied out")
		w.ties(route, eurc, "2-9: 0 + 0 - 0 = 0, 0, tied out", "9-19: 0 + 0 - 0 = 0, 0, tied out")
		asked := w.chain.Requests()
		w.restart()
		w.catchUp()
		w.answer(0)
		if n := len(all(w, schema.Balances, "WHERE chain_id = {chain:UInt64}")); n != 3*4 {
			t.Errorf("%d balances are recorded, want 3 for each of 4", n)
		}
		if more := w.chain.Requests() - asked; more > 25 {
			t.Errorf("%d requests to find that nothing is to be recorded", more)
		}

		// A Transfer that the index lacks is a difference, and a number.
		if err := w.store.Conn().Exec(t.Context(), fmt.Sprintf("ALTER TABLE transfers DELETE WHERE chain_id = %d AND block_number = 5 SETTINGS mutations_sync = 2", w.id)); err != nil {
			t.Fatal(err)
		}
		w.ties(shop, usdc, "2-9: 1000 + 100 - 0 = 1070, -30, differs", "9-19: 1070 + 5 - 0 = 1075, 0, tied out")
	})

	// A node without the state of old blocks: what was not asked in time is unknown, and known once an archive node is there.
	f(false, func(w *world) {
		head := w.chain.Head().Number
		w.chain.Tell(func(method string, args []any, answer any, err error) (any, error) {
			if method == "eth_call" {
				hash := *args[1].(rpc.BlockNumberOrHash).BlockHash
				for _, b := range w.chain.Blocks() {
					if b.Hash == hash && b.Number+10 < head {
						return nil, rpctest.Error{Code: -32000, Message: "missing trie node"}
					}
				}
			}
			return answer, err
		})
		w.catchUp()
		w.answer(0)
		const gone = "not tied out: no archive state"
		w.ties(shop, usdc, "0-2: - + 0 - 0 = -, -, "+gone, "0-9: - + 0 - 0 = -, -, "+gone)

		// The next boundary lies in the window: it is asked for now, and recorded when it is final.
		w.chain.MineEmpty(7) // up to 31, the boundary behind 29
		w.catchUp()
		w.answer(0)
		head = 10_000
		w.chain.Finalize(31, 31)
		w.catchUp()
		w.answer(0)
		w.ties(shop, usdc, "0-2: - + 0 - 0 = -, -, "+gone, "0-9: - + 0 - 0 = -, -, "+gone, "19-29: 1075 + 7 - 7 = 1075, 0, tied out")

		w.chain.Tell(nil)
		w.restart()
		w.catchUp()
		w.answer(0)
		w.ties(shop, usdc, "2-9: 1000 + 100 - 30 = 1070, 0, tied out", "9-19: 1070 + 5 - 0 = 1075, 0, tied out", "19-29: 1075 + 7 - 7 = 1075, 0, tied out")
	})
}
