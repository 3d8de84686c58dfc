package match

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"

	"x402audit/schema"
)

// Case is one payment with the evidence that its verdict rests on.
type Case struct {
	Payment      schema.Payment
	Settlement   *schema.Settlement  // canonical; nil when nothing settled
	Transaction  *schema.Transaction // the settlement's, nil until its sender was read
	Cancellation *schema.Cancellation
	Claims       []*Claim // in the order of time, one a record
	Lead         *Claim   // the claim that the payment is judged by: an agreeing success, else the least differing one, else the first failure
	Known        bool     // the token is followed
}

// Result is everything that Judge has to say.
type Result struct {
	Cases     []Case        // sorted by payment_id
	Links     []schema.Link // in the order of their cases
	Questions []schema.Question
}

// judge holds evidence in the shape in which it is asked for. What lies under payment keys is kept by the number of its key, because a key is too large to
// be looked up again and again.
type judge struct {
	ev            *Evidence
	cfg           *Config
	signers       signers
	payments      numbers[schema.Key]
	settlements   shelf[schema.Settlement]            // canonical, in the order of the chain
	keyed         shelf[Claim]                        // claims that state their key, in no order
	keyless       []*Claim                            // the others, in the order of time
	tied          map[int32][]*Claim                  // keyless claims by the payment that the ladder tied them to
	rungs         map[*Claim]schema.Rung              // of keyless claims
	candidates    map[schema.Key]bool                 // keys that share an undecided claim
	dead          map[schema.Key][]*schema.Settlement // in blocks that are canonical no more
	cancellations map[schema.Key]*schema.Cancellation
	inTransaction map[place][]*schema.Settlement // of the transactions that are named by keyless claims and by claims without a settlement
	transactions  map[place]*schema.Transaction
	witnesses     map[schema.Key][]*schema.Witness
	unknownTx     map[place]int64 // time of the latest final block at which a node did not know the transaction
	receiptRead   map[place]bool  // transactions in final blocks whose receipts were asked for
	questions     []schema.Question
}

// Judge gives every payment in the evidence one verdict. Evidence may come in any order, and stays as it is: the result points into it.
func Judge(ev *Evidence, cfg *Config) Result {
	j := &judge{
		ev: ev, cfg: cfg, signers: newSigners(cfg.Facilitators),
		payments:      newNumbers[schema.Key](max(len(ev.Settlements), len(ev.Claims)/2)),
		tied:          map[int32][]*Claim{},
		rungs:         map[*Claim]schema.Rung{},
		candidates:    map[schema.Key]bool{},
		dead:          map[schema.Key][]*schema.Settlement{},
		cancellations: map[schema.Key]*schema.Cancellation{},
		inTransaction: map[place][]*schema.Settlement{},
		transactions:  make(map[place]*schema.Transaction, len(ev.Transactions)),
		witnesses:     map[schema.Key][]*schema.Witness{},
		unknownTx:     map[place]int64{},
		receiptRead:   map[place]bool{},
	}
	j.layOutChain()
	j.layOutClaims()
	j.climb()

	r := Result{
		Cases: make([]Case, 0, len(j.payments.keys)),
		Links: make([]schema.Link, 0, len(j.keyed.records)+len(j.keyless)),
	}
	for _, n := range inOrder(j.payments.keys) {
		r.Cases = append(r.Cases, Case{})
		c := &r.Cases[len(r.Cases)-1]
		if !j.judge(n, c) {
			r.Cases = r.Cases[:len(r.Cases)-1]
			continue
		}
		for _, x := range c.Claims {
			r.Links = append(r.Links, schema.Link{ClaimID: x.ID, Key: c.Payment.Key, Rung: j.rung(x)})
		}
	}
	r.Questions = sortQuestions(j.questions)
	return r
}

// inOrder lists the numbers of keys in the order of payment_ids. The first bytes of payer and nonce tell most keys apart, and lie together.
func inOrder(keys []schema.Key) []int32 {
	type spine struct {
		market       int32 // number of chain, token and method
		n            int32
		payer, nonce uint64
	}
	markets := newNumbers[schema.Key](0)
	spines := make([]spine, len(keys))
	for i := range keys {
		k := &keys[i]
		spines[i] = spine{
			markets.number(schema.Key{ChainID: k.ChainID, Token: k.Token, Method: k.Method}), int32(i),
			binary.BigEndian.Uint64(k.Authorizer[:]), binary.BigEndian.Uint64(k.Nonce[:]),
		}
	}
	slices.SortFunc(spines, func(a, b spine) int {
		switch {
		case a.market != b.market:
			return markets.keys[a.market].Compare(markets.keys[b.market])
		case a.payer != b.payer:
			return cmp.Compare(a.payer, b.payer)
		case a.nonce != b.nonce && keys[a.n].Authorizer == keys[b.n].Authorizer:
			return cmp.Compare(a.nonce, b.nonce)
		}
		return keys[a.n].Compare(keys[b.n])
	})
	order := make([]int32, len(spines))
	for i := range spines {
		order[i] = spines[i].n
	}
	return order
}

// layOutChain indexes what the chain says. What lies in a block that is not known to be canonical counts for nothing; a settlement whose block is known to
// be dead is an orphan.
func (j *judge) layOutChain() {
	canonical := make([]*schema.Settlement, 0, len(j.ev.Settlements))
	for i := range j.ev.Settlements {
		s := &j.ev.Settlements[i]
		switch isCanonical, known := j.ev.Canonical[s.BlockHash]; {
		case isCanonical:
			canonical = append(canonical, s)
		case known:
			j.dead[s.Key()] = append(j.dead[s.Key()], s)
		}
	}
	of := make([]int32, len(canonical))
	for i, s := range canonical {
		of[i] = j.payments.number(s.Key())
	}
	j.settlements = newShelf(len(j.payments.keys), of, canonical)
	for n := range int32(len(j.payments.keys)) {
		slices.SortFunc(j.settlements.at(n), byLog)
	}
	for k := range j.dead {
		j.payments.number(k)
	}
	for i := range j.ev.Cancellations {
		if c := &j.ev.Cancellations[i]; j.ev.Canonical[c.BlockHash] {
			if was := j.cancellations[c.Key()]; was == nil || c.BlockNumber < was.BlockNumber {
				j.cancellations[c.Key()] = c
			}
		}
	}
	for i := range j.ev.Transactions {
		t := &j.ev.Transactions[i]
		canonical, known := j.ev.Canonical[t.BlockHash]
		if canonical || !known && t.BlockNumber <= j.ev.AsOf.Heads[t.ChainID].Final.Number {
			j.transactions[place{t.ChainID, t.Hash}] = t
		}
	}
	for i := range j.ev.Witnesses {
		w := &j.ev.Witnesses[i]
		switch w.Kind {
		case schema.WitnessAuthorization:
			k := schema.Key{ChainID: w.ChainID, Token: w.Token, Method: schema.MethodEIP3009, Authorizer: w.Authorizer, Nonce: w.Nonce}
			j.witnesses[k] = append(j.witnesses[k], w)
		case schema.WitnessReceipt:
			p := place{w.ChainID, w.Transaction}
			switch w.Answer {
			case schema.AnswerUnknown:
				j.unknownTx[p] = max(j.unknownTx[p], w.BlockTime)
			case schema.AnswerFound:
				j.receiptRead[p] = true
			}
		}
	}
}

// layOutClaims puts claims that state their key to their payments, and the others into the order of time. Of the settlements of transactions only those
// are listed by transaction that some claim will ask for.
func (j *judge) layOutClaims() {
	keyed := make([]*Claim, 0, len(j.ev.Claims))
	of := make([]int32, 0, len(j.ev.Claims))
	named := map[place]bool{}
	for i := range j.ev.Claims {
		c := &j.ev.Claims[i]
		if _, followed := j.cfg.Chains[c.Key.ChainID]; !followed {
			continue // kept and counted as not audited, not judged
		}
		settled := false
		if c.Keyed {
			n := j.payments.number(c.Key)
			keyed, of = append(keyed, c), append(of, n)
			settled = len(j.settlements.at(n)) > 0
		} else {
			j.keyless = append(j.keyless, c)
		}
		if !settled && c.Transaction != (schema.Hash{}) {
			named[place{c.Key.ChainID, c.Transaction}] = true
		}
	}
	j.keyed = newShelf(len(j.payments.keys), of, keyed)
	j.keyless = inTime(j.keyless)
	for _, s := range j.settlements.records {
		if p := (place{s.ChainID, s.Transaction}); named[p] {
			j.inTransaction[p] = append(j.inTransaction[p], s)
		}
	}
	for _, ss := range j.inTransaction {
		slices.SortFunc(ss, byLog)
	}
}

// claims lists what was said of a payment, one claim a record, in the order of time.
func (j *judge) claims(n int32) []*Claim {
	all := oneRecord(j.keyed.at(n))
	if more := j.tied[n]; len(more) > 0 {
		all = append(all, more...) // a copy: its place on the shelf is full
		slices.SortFunc(all, byTime)
	}
	return all
}

// rung says how a claim came to its payment.
func (j *judge) rung(c *Claim) schema.Rung {
	if c.Keyed {
		return schema.RungKey
	}
	return j.rungs[c]
}

// ask notes a question for a node.
func (j *judge) ask(q schema.Question) { j.questions = append(j.questions, q) }

// sortQuestions puts questions in order, each once.
func sortQuestions(qs []schema.Question) []schema.Question {
	slices.SortFunc(qs, func(a, b schema.Question) int {
		return cmp.Or(cmp.Compare(a.ChainID, b.ChainID), cmp.Compare(a.Kind, b.Kind), bytes.Compare(a.Authorizer[:], b.Authorizer[:]),
			bytes.Compare(a.Nonce[:], b.Nonce[:]), bytes.Compare(a.Transaction[:], b.Transaction[:]), cmp.Compare(a.NotBefore, b.NotBefore),
			bytes.Compare(a.Token[:], b.Token[:]))
	})
	return slices.Compact(qs)
}

// askReceipt asks what became of a transaction; a node that does not know it counts from notBefore on.
func (j *judge) askReceipt(chain uint64, tx schema.Hash, notBefore int64) {
	p := place{chain, tx}
	at, unknown := j.unknownTx[p]
	if tx != (schema.Hash{}) && j.transactions[p] == nil && (!unknown || at < notBefore) {
		j.ask(schema.Question{ChainID: chain, Kind: schema.WitnessReceipt, Transaction: tx, NotBefore: notBefore})
	}
}
