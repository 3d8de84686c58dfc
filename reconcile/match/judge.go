package match

import (
	"bytes"
	"cmp"
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
	Cases     []Case // sorted by payment_id
	Links     []schema.Link
	Questions []schema.Question
}

// judge holds evidence in the shape in which it is asked for.
type judge struct {
	ev            *Evidence
	cfg           *Config
	signers       signers
	claims        []*Claim
	links         []schema.Link
	byKey         map[schema.Key][]tied
	candidates    map[schema.Key]bool // keys that share an undecided claim
	settlements   map[schema.Key][]*schema.Settlement
	dead          map[schema.Key][]*schema.Settlement // in blocks that are canonical no more
	cancellations map[schema.Key]*schema.Cancellation
	inTransaction map[place][]*schema.Settlement
	transactions  map[place]*schema.Transaction
	witnesses     map[schema.Key][]*schema.Witness
	unknownTx     map[place]int64 // time of the latest final block at which a node did not know the transaction
	receiptRead   map[place]bool  // transactions in final blocks whose receipts were asked for
	questions     map[schema.Question]bool
}

type tied struct {
	claim *Claim
	rung  schema.Rung
}

// Judge gives every payment in the evidence one verdict. Evidence may come in any order.
func Judge(ev *Evidence, cfg *Config) Result {
	j := &judge{
		ev: ev, cfg: cfg, signers: newSigners(cfg.Facilitators),
		byKey:         map[schema.Key][]tied{},
		candidates:    map[schema.Key]bool{},
		settlements:   map[schema.Key][]*schema.Settlement{},
		dead:          map[schema.Key][]*schema.Settlement{},
		cancellations: map[schema.Key]*schema.Cancellation{},
		inTransaction: map[place][]*schema.Settlement{},
		transactions:  map[place]*schema.Transaction{},
		witnesses:     map[schema.Key][]*schema.Witness{},
		unknownTx:     map[place]int64{},
		receiptRead:   map[place]bool{},
		questions:     map[schema.Question]bool{},
	}
	j.layOut()
	j.climb()

	keys := map[schema.Key]bool{}
	for k := range j.byKey {
		keys[k] = true
	}
	for k := range j.settlements {
		keys[k] = true
	}
	for k := range j.dead {
		keys[k] = true
	}
	r := Result{Links: j.links}
	for k := range keys {
		if c, ok := j.judge(k); ok {
			r.Cases = append(r.Cases, c)
		}
	}
	slices.SortFunc(r.Cases, func(a, b Case) int { return a.Payment.Key.Compare(b.Payment.Key) })
	slices.SortFunc(r.Links, func(a, b schema.Link) int { return bytes.Compare(a.ClaimID[:], b.ClaimID[:]) })
	for q := range j.questions {
		r.Questions = append(r.Questions, q)
	}
	slices.SortFunc(r.Questions, func(a, b schema.Question) int {
		return cmp.Or(cmp.Compare(a.ChainID, b.ChainID), cmp.Compare(a.Kind, b.Kind), bytes.Compare(a.Authorizer[:], b.Authorizer[:]),
			bytes.Compare(a.Nonce[:], b.Nonce[:]), bytes.Compare(a.Transaction[:], b.Transaction[:]), cmp.Compare(a.NotBefore, b.NotBefore))
	})
	return r
}

// layOut indexes the evidence. What lies in a block that is not known to be canonical counts for nothing; a settlement whose block is known to
// be dead is an orphan.
func (j *judge) layOut() {
	for i := range j.ev.Claims {
		c := &j.ev.Claims[i]
		if _, followed := j.cfg.Chains[c.Key.ChainID]; followed { // others are kept and counted as not audited, not judged
			j.claims = append(j.claims, c)
		}
	}
	j.claims = oneRecord(j.claims)
	for i := range j.ev.Settlements {
		s := &j.ev.Settlements[i]
		switch canonical, known := j.ev.Canonical[s.BlockHash]; {
		case canonical:
			j.settlements[s.Key()] = append(j.settlements[s.Key()], s)
			p := place{s.ChainID, s.Transaction}
			j.inTransaction[p] = append(j.inTransaction[p], s)
		case known:
			j.dead[s.Key()] = append(j.dead[s.Key()], s)
		}
	}
	for _, ss := range j.settlements {
		slices.SortFunc(ss, byLog)
	}
	for _, ss := range j.inTransaction {
		slices.SortFunc(ss, byLog)
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

// ask notes a question for a node.
func (j *judge) ask(q schema.Question) { j.questions[q] = true }

// askReceipt asks what became of a transaction; a node that does not know it counts from notBefore on.
func (j *judge) askReceipt(chain uint64, tx schema.Hash, notBefore int64) {
	p := place{chain, tx}
	at, unknown := j.unknownTx[p]
	if tx != (schema.Hash{}) && j.transactions[p] == nil && (!unknown || at < notBefore) {
		j.ask(schema.Question{ChainID: chain, Kind: schema.WitnessReceipt, Transaction: tx, NotBefore: notBefore})
	}
}
