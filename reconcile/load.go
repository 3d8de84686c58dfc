package reconcile

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"x402audit/reconcile/match"
	"x402audit/schema"
)

// What a sweep loads is what verdicts and findings of the payments in scope need, and no more, so that a payer's history costs nothing:
//
//  1. resolve finds the payments that touched transactions concern. Those that are touched by key are read ahead, beside it.
//  2. whole reads payments by key, with all that decides which keyless claims are theirs: settlements and claims of each transaction that a keyless claim
//     names.
//  3. neighbours.go finds what rules look at across a payer's payments; that is read whole as well.
//  4. about reads what belongs to the transactions, claims and blocks that were found, beside what is looked for next.
//
// At the head a sweep is a few payments, and what it takes is the number of statements that wait for each other; so what need not wait does not.
//
// A new kind of evidence is one line in byKey where it states a payment key, or in about where it belongs to a transaction, and one in once. What is found in
// another way has a file of its own.

// byKey reads what is known under payment keys.
func (l *loader) byKey(pids []string) {
	l.together(
		get(l, schema.Settlements, &l.ev.Settlements, "pid IN", pids),
		get(l, schema.Cancellations, &l.ev.Cancellations, "pid IN", pids),
		get(l, schema.Witnesses, &l.ev.Witnesses, "pid IN", pids),
		get(l, schema.Claims, &l.claims, "pid IN", pids),
		get(l, schema.Deliveries, &l.ev.Deliveries, "pid IN", pids),
		get(l, schema.Payments, &l.known.payments, "pid IN", pids),
		get(l, schema.PaymentHours, &l.known.hours, "pid IN", pids),
		get(l, schema.Findings, &l.known.findings, sweepRules+" AND pid IN", pids),
		get(l, schema.Refunds, &l.known.refunds, "pid IN", pids),
	)
}

// about are the reads of what belongs to transactions, claims and blocks that were found and not asked about yet.
func (l *loader) about() []func() {
	txs := fresh(l.asked.txs, l.transactions())
	claims := values(keysOf(fresh(l.asked.claims, l.claimIDs())))
	blocks, moved := fresh(l.asked.blocks, l.blockNumbers()), fresh(l.asked.moved, l.movedBlocks())
	return []func(){
		get(l, schema.Transactions, &l.ev.Transactions, chainsOf(txs)+" AND hash IN", hashes(txs)),
		l.receipts(txs),
		get(l, schema.Sightings.Only("claim_id", "source"), &l.sightings, "claim_id IN", claims),
		get(l, schema.Links, &l.known.links, "claim_id IN", claims),
		get(l, schema.Blocks, &l.blocks, chainsOf(blocks)+" AND number IN", heights(blocks)),
		get(l, schema.Transfers, &l.ev.Transfers, chainsOf(moved)+" AND block_number IN", heights(moved)),
	}
}

// asked is what about has read of.
type asked struct {
	txs           map[place]bool
	claims        map[schema.Hash]bool
	blocks, moved map[at]bool
}

// fresh are those of all that were not asked about, and are from here on.
func fresh[K comparable](asked, all map[K]bool) map[K]bool {
	maps.DeleteFunc(all, func(k K, _ bool) bool { return asked[k] })
	maps.Copy(asked, all)
	return all
}

// once drops what was found more than once: look-ups read all versions of a row.
func (l *loader) once() {
	once(&l.ev.Settlements, func(s *schema.Settlement) any { return logOf{s.ChainID, s.BlockHash, s.LogIndex} })
	once(&l.ev.Cancellations, func(c *schema.Cancellation) any { return logOf{c.ChainID, c.BlockHash, c.LogIndex} })
	l.ev.Transfers = slices.DeleteFunc(l.ev.Transfers, func(t schema.Transfer) bool { return !l.moved[place{t.ChainID, t.Transaction}] })
	once(&l.ev.Transfers, func(t *schema.Transfer) any { return logOf{t.ChainID, t.BlockHash, t.LogIndex} })
	once(&l.ev.Transactions, func(t *schema.Transaction) any { return [2]schema.Hash{t.Hash, t.BlockHash} })
	once(&l.ev.Witnesses, func(w *schema.Witness) any { return *w })
	once(&l.ev.Deliveries, func(d *schema.Delivery) any { return deliveryAt{d.ID, d.Position} })
	once(&l.claims, func(c *schema.Claim) any { return c.ID })
}

type deliveryAt struct {
	id schema.Hash
	at schema.Position
}

type logOf struct {
	chain uint64
	block schema.Hash
	index uint32
}

// load reads the evidence of everything in scope, and puts into the scope what that can change.
func (l *loader) load(asof match.AsOf) (match.Evidence, error) {
	l.whole(keysOf(l.scope.pids), true)
	changes, looks := l.reach(asof.Servers)
	var repaid map[uint64]bool
	before := len(l.scope.pids)
	l.together(
		func() { l.slots(changes, looks) },
		func() { repaid = l.repaid() },
	)
	near := l.neighbours(changes)
	if len(near) > 0 {
		l.whole(keysOf(near), true)
		repaid = l.repaid()
	}
	l.whole(keysOf(repaid), true)
	if len(l.scope.pids) > before { // they look at others in turn
		_, looks = l.reach(asof.Servers)
	}
	context := l.neighbours(looks)
	l.whole(keysOf(context), false)
	l.ev.AsOf = asof
	l.elsewhere()
	l.backing()
	l.together(l.about()...)
	l.together(l.about()...) // of what these have shown
	l.once()

	l.ev.Canonical = canonical(l.blocks)
	l.ev.Claims = l.seenIn()
	return l.ev, l.failed()
}

// loader gathers evidence. It keeps the first error, so that load reads as a list of what is loaded.
type loader struct {
	ctx   context.Context
	store *schema.Store
	cfg   *match.Config
	scope *scope

	without map[string]bool // tables that had no row when the scope was read

	ev        match.Evidence
	claims    []schema.Claim
	sightings []schema.Sighting
	blocks    []schema.Block
	payouts   []schema.Transfer // to payers of whom all is in scope that they paid before
	known     known

	read   map[uint64]bool // pids that were read by key
	early  []uint64        // of these, those that were read ahead and not followed yet
	looked map[place]bool  // transactions whose keyless claims were read, or are known to be none
	moved  map[place]bool  // those whose Transfers are looked at
	words  map[uint64]bool // pids of words of Permit2 nonces that were read

	loosened map[payer]bool // payers of whom the claims without key and transaction were read
	asked    asked
	slotted  map[slot]bool // of neighbours
	near     []schema.Neighbour
	followed marks

	mu  sync.Mutex
	err error
}

// marks are how many rows were followed to what belongs with them.
type marks struct{ settlements, claims, deliveries, payments int }

func (l *loader) marks() marks {
	return marks{len(l.ev.Settlements), len(l.claims), len(l.ev.Deliveries), len(l.known.payments)}
}

// known is what was judged before of the payments in scope, in all versions.
type known struct {
	payments []schema.Payment
	hours    []schema.PaymentHour
	findings []schema.Finding
	refunds  []schema.Refund
	links    []schema.Link
}

// seldom are tables that many stores have no row in.
var seldom = []string{
	schema.Cancellations.Name, schema.Witnesses.Name, schema.Deliveries.Name, schema.Transfers.Name, schema.Payouts.Name,
	schema.ChannelEvents.Name, schema.GatewayTransfers.Name, schema.Findings.Name, schema.Refunds.Name,
}

// loader prepares to load a scope.
func (a *Auditor) loader(ctx context.Context, s *scope) *loader {
	return &loader{
		ctx: ctx, store: a.store, cfg: &a.cfg, scope: s,
		read: map[uint64]bool{}, looked: map[place]bool{}, moved: map[place]bool{}, words: map[uint64]bool{}, loosened: map[payer]bool{},
		asked: asked{map[place]bool{}, map[schema.Hash]bool{}, map[at]bool{}, map[at]bool{}}, slotted: map[slot]bool{},
	}
}

var (
	keyOfSettlement = schema.Settlements.Only("chain_id", "token", "method", "authorizer", "nonce", "transaction", "pay_to")
	keyOfDelivery   = schema.Deliveries.Only("chain_id", "transaction")
	keyOfClaim      = schema.Claims.Only("claim_id", "chain_id", "token", "method", "authorizer", "nonce", "keyed", "payer", "transaction")
)

// resolve adds to the scope the payments that touched transactions concern: those settled in them, those whose claims name them, and those that only keyless
// claims know. It returns the touched transactions that no keyless claim or delivery names.
func (l *loader) resolve() (quiet map[place]bool, err error) {
	s := l.scope
	txs := hashes(s.txs)
	var settlements, own []schema.Settlement
	var naming, unnamed []schema.Claim
	var served []schema.Delivery
	l.together(
		get(l, keyOfDelivery, &served, "pid = 0 AND transaction IN", txs),
		get(l, keyOfSettlement, &settlements, "transaction IN", txs),
		get(l, keyOfClaim, &naming, "transaction IN", txs),
		get(l, keyOfClaim, &unnamed, "pid = 0 AND claim_id IN", values(keysOf(s.claims))),
		get(l, keyOfSettlement, &own, "pid IN", pidsOf(s.merchants)),
	)
	for i := range settlements {
		s.add(settlements[i].Key())
	}
	for _, x := range append(settlements, own...) {
		s.addPaid(&x, &l.cfg.Merchants)
	}
	for pid := range l.neighbours(wantedWords(s.words)) {
		s.pids[pid] = true
	}
	for _, pid := range l.vouched() {
		s.pids[pid] = true
	}
	for _, n := range in(l, schema.Neighbours, "kind = 'settled' AND (chain_id, authorizer) IN", payersOf(s.payers)) {
		s.pids[n.PID] = true
	}
	quiet = maps.Clone(s.txs)
	for i := range served {
		delete(quiet, place{served[i].Key.ChainID, served[i].Transaction})
	}
	for _, c := range append(naming, unnamed...) {
		if c.Keyed {
			s.add(c.Key)
			continue
		}
		own := match.OwnKey(&c)
		s.add(own)
		s.keyless[own.PID()] = c.ID
		delete(quiet, place{c.Key.ChainID, c.Transaction})
	}
	return quiet, l.failed()
}

// aheadAtMost bounds what is read ahead: a scope that resolve makes more than one part of is read again.
const aheadAtMost = 1000

// ahead reads payments by key before whole asks for them.
func (l *loader) ahead(pids []uint64) error {
	if len(pids) <= aheadAtMost {
		for _, pid := range pids {
			l.read[pid] = true
		}
		l.early = pids
		l.byKey(numbers(pids))
	}
	return l.failed()
}

// whole reads payments by key, and follows the keyless claims that may be theirs: what ties those is all that settled in the transaction that they name and all
// that is claimed of it. With a payment in scope all of these are: what is new on one can move a claim from one to another.
func (l *loader) whole(pids []uint64, scoped bool) {
	for len(pids) > 0 && l.failed() == nil {
		var todo []uint64
		for _, pid := range pids {
			if scoped {
				l.scope.pids[pid] = true
			}
			if !l.read[pid] {
				l.read[pid] = true
				todo = append(todo, pid)
			}
		}
		l.byKey(numbers(todo))
		todo, l.early = append(todo, l.early...), nil
		settled, claimed, served, judged := l.followed.settlements, l.followed.claims, l.followed.deliveries, l.followed.payments
		l.together(get(l, schema.Claims, &l.claims, "pid = 0 AND claim_id IN", values(l.keyless(todo, l.known.payments[judged:]))))

		txs := map[place]bool{}
		look := func(chain uint64, tx schema.Hash) {
			if p := (place{chain, tx}); tx != (schema.Hash{}) && !l.looked[p] {
				l.looked[p], txs[p] = true, true
			}
		}
		for i := settled; i < len(l.ev.Settlements); i++ {
			look(l.ev.Settlements[i].ChainID, l.ev.Settlements[i].Transaction)
		}
		for i := judged; i < len(l.known.payments); i++ {
			if p := &l.known.payments[i]; p.Key.Method == schema.MethodTransfer { // whose claims are found by its transaction
				look(p.Key.ChainID, p.Transaction)
			}
		}
		payers := map[payer]bool{}
		for i := settled; i < len(l.ev.Settlements); i++ {
			payers[payer{l.ev.Settlements[i].ChainID, l.ev.Settlements[i].Authorizer}] = true
		}
		for i := claimed; i < len(l.claims); i++ {
			if c := &l.claims[i]; !c.Keyed && c.Transaction == (schema.Hash{}) {
				payers[payer{c.Key.ChainID, c.Key.Authorizer}] = true
			}
		}
		words := map[uint64]bool{}
		word := func(k schema.Key) {
			if pid := k.Word().PID(); k.Method == schema.MethodPermit2 && !l.words[pid] {
				l.words[pid], words[pid] = true, true
			}
		}
		for i := settled; i < len(l.ev.Settlements); i++ {
			word(l.ev.Settlements[i].Key())
		}
		for i := claimed; i < len(l.claims); i++ {
			if c := &l.claims[i]; c.Keyed {
				word(c.Key)
			} else {
				look(c.Key.ChainID, c.Transaction)
			}
		}
		for i := served; i < len(l.ev.Deliveries); i++ {
			word(l.ev.Deliveries[i].Key)
		}
		var naming, loose []schema.Claim
		var delivered []schema.Delivery
		l.together(append(l.about(),
			get(l, schema.Claims, &naming, "pid = 0 AND transaction IN", hashes(txs)),
			get(l, schema.Deliveries, &delivered, "pid = 0 AND transaction IN", hashes(txs)),
			get(l, schema.Cancellations, &l.ev.Cancellations, "pid IN", numbers(keysOf(words))),
			l.looseOf(payers, &loose),
		)...)
		pids = append(l.tied(naming, delivered), l.loose(loose)...)
		l.followed = l.marks()
	}
}

// keyless are the ids of the claims that payments of their own rest on.
func (l *loader) keyless(pids []uint64, judged []schema.Payment) (ids []schema.Hash) {
	for _, pid := range pids {
		if id, ok := l.scope.keyless[pid]; ok {
			ids = append(ids, id)
		}
	}
	for i := range judged {
		if k := judged[i].Key; k.Method == schema.MethodClaim {
			ids = append(ids, k.Nonce)
		}
	}
	return ids
}

// tied adds keyless claims and deliveries that name transactions, and returns the payments that they may be.
func (l *loader) tied(claims []schema.Claim, deliveries []schema.Delivery) (pids []uint64) {
	l.claims, l.ev.Deliveries = append(l.claims, claims...), append(l.ev.Deliveries, deliveries...)
	shared, named := map[place]bool{}, map[place]bool{}
	for i := range deliveries {
		shared[place{deliveries[i].Key.ChainID, deliveries[i].Transaction}] = true
	}
	for i := range claims {
		c := &claims[i]
		p := place{c.Key.ChainID, c.Transaction}
		shared[p], named[p], l.moved[p] = true, true, true
		pids = append(pids, match.OwnKey(c).PID())
	}
	var settlements []schema.Settlement
	l.together(get(l, keyOfSettlement, &settlements, "transaction IN", hashes(shared)))
	for i := range settlements {
		pids = append(pids, settlements[i].Key().PID())
	}
	return append(pids, l.plain(named)...)
}

// elsewhere reads what settled in transactions that claims name and their own payment did not settle in: they show that a transaction was read whole, and
// what may have spent a permit unseen. So may a Transfer in it; and one may be what a keyless claim is about.
func (l *loader) elsewhere() {
	within := map[place]bool{}
	for i := range l.ev.Settlements {
		within[place{l.ev.Settlements[i].ChainID, l.ev.Settlements[i].Transaction}] = true
	}
	missing := map[place]bool{}
	for i := range l.claims {
		c := &l.claims[i]
		p := place{c.Key.ChainID, c.Transaction}
		if c.Transaction == (schema.Hash{}) {
			continue
		}
		if !within[p] {
			missing[p] = true
		}
		if c.Key.Method == schema.MethodPermit2 { // one that was not read as such is a Transfer
			missing[p], l.moved[p] = true, true
		}
	}
	l.together(get(l, schema.Settlements, &l.ev.Settlements, "transaction IN", hashes(missing)))
}

// together runs reads that need nothing of each other side by side: a sweep is made of many short ones.
func (l *loader) together(reads ...func()) {
	var all sync.WaitGroup
	for _, read := range reads {
		if read != nil {
			all.Go(read)
		}
	}
	all.Wait()
}

func (l *loader) failed() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

func (l *loader) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = err
	}
}

// statement bounds the values of one statement in bytes; ClickHouse takes 256 KiB for the whole.
const statement = 240 << 10

// What is looked up lies scattered: little is read around each row, and by few keys it is found sooner by one thread, beside the other look-ups, than by several that are started for it.
const (
	scattered = " SETTINGS max_read_buffer_size_local_fs = 16384, local_filesystem_read_method = 'pread'"
	fewKeys   = 400
)

// get is a read that adds to rows all that a condition "columns IN" finds; nothing is to be read where there are no values.
func get[R any](l *loader, t schema.Table[R], rows *[]R, condition string, values []string) func() {
	if len(values) == 0 || l.without[t.Name] {
		return nil
	}
	return func() { *rows = append(*rows, in(l, t, condition, values)...) }
}

// in reads all versions of the rows that columns IN (values) finds. The values are in the order of the table or of an index, where that matters: a statement that does not
// hold all of them reads one stretch of it.
func in[R any](l *loader, t schema.Table[R], condition string, values []string) (all []R) {
	if l.without[t.Name] {
		return nil
	}
	for len(values) > 0 {
		n, size := 0, 0
		for n < len(values) && size+len(values[n]) < statement {
			size += len(values[n]) + 1
			n++
		}
		if l.failed() != nil {
			return nil
		}
		settings := scattered
		if n <= fewKeys {
			settings += ", max_threads = 1"
		}
		rows, err := t.Select(l.ctx, l.store, "WHERE "+condition+" ("+strings.Join(values[:n], ",")+")"+settings, nil)
		if err != nil {
			l.fail(err)
			return nil
		}
		all, values = append(all, rows...), values[n:]
	}
	return all
}

// once keeps one of the rows with the same identity.
func once[R any](rows *[]R, id func(*R) any) {
	seen := make(map[any]bool, len(*rows))
	*rows = slices.DeleteFunc(*rows, func(r R) bool {
		k := id(&r)
		was := seen[k]
		seen[k] = true
		return was
	})
}

// receipts reads what nodes said of transactions. A witness of a receipt has no payment: its key names only the chain.
func (l *loader) receipts(txs map[place]bool) func() {
	if len(txs) == 0 {
		return nil
	}
	byChain := map[uint64]map[place]bool{}
	for p := range txs {
		if byChain[p.chain] == nil {
			byChain[p.chain] = map[place]bool{}
		}
		byChain[p.chain][p] = true
	}
	return func() {
		for chain, txs := range byChain {
			none := schema.Witness{ChainID: chain}
			condition := fmt.Sprintf("pid = %d AND chain_id = %d AND kind = '%s' AND token = %s AND authorizer = %[4]s AND nonce = %s AND transaction IN",
				none.Key().PID(), chain, schema.WitnessReceipt, literal(none.Token[:]), literal(none.Nonce[:]))
			l.ev.Witnesses = append(l.ev.Witnesses, in(l, schema.Witnesses, condition, hashes(txs))...)
		}
	}
}

// transactions are those that settlements are in and those that claims name.
func (l *loader) transactions() map[place]bool {
	txs := map[place]bool{}
	for i := range l.ev.Settlements {
		txs[place{l.ev.Settlements[i].ChainID, l.ev.Settlements[i].Transaction}] = true
	}
	for i := range l.claims {
		if tx := l.claims[i].Transaction; tx != (schema.Hash{}) {
			txs[place{l.claims[i].Key.ChainID, tx}] = true
		}
	}
	return txs
}

func (l *loader) claimIDs() map[schema.Hash]bool {
	ids := map[schema.Hash]bool{}
	for i := range l.claims {
		ids[l.claims[i].ID] = true
	}
	return ids
}

// blockNumbers are the blocks that evidence lies in: which of them are canonical is theirs to say.
func (l *loader) blockNumbers() map[at]bool {
	numbers := map[at]bool{}
	for i := range l.ev.Settlements {
		numbers[at{l.ev.Settlements[i].ChainID, l.ev.Settlements[i].BlockNumber}] = true
	}
	for i := range l.ev.Cancellations {
		numbers[at{l.ev.Cancellations[i].ChainID, l.ev.Cancellations[i].BlockNumber}] = true
	}
	for i := range l.ev.Transactions {
		numbers[at{l.ev.Transactions[i].ChainID, l.ev.Transactions[i].BlockNumber}] = true
	}
	for i := range l.ev.ChannelEvents {
		numbers[at{l.ev.ChannelEvents[i].ChainID, l.ev.ChannelEvents[i].BlockNumber}] = true
	}
	return numbers
}

// movedBlocks are the blocks of the transactions whose Transfers are looked at.
func (l *loader) movedBlocks() map[at]bool {
	numbers := map[at]bool{}
	for i := range l.ev.Transactions {
		if t := &l.ev.Transactions[i]; l.moved[place{t.ChainID, t.Hash}] {
			numbers[at{t.ChainID, t.BlockNumber}] = true
		}
	}
	for i := range l.ev.Settlements {
		if s := &l.ev.Settlements[i]; l.moved[place{s.ChainID, s.Transaction}] {
			numbers[at{s.ChainID, s.BlockNumber}] = true
		}
	}
	return numbers
}

// canonical takes each block's newest word.
func canonical(blocks []schema.Block) map[schema.Hash]bool {
	newest := make(map[schema.Hash]*schema.Block, len(blocks))
	said := make(map[schema.Hash]bool, len(blocks))
	for i := range blocks {
		b := &blocks[i]
		if was := newest[b.Hash]; was == nil || was.Version <= b.Version {
			newest[b.Hash], said[b.Hash] = b, b.Canonical
		}
	}
	return said
}

// seenIn completes claims with the sources in which they were seen.
func (l *loader) seenIn() []match.Claim {
	sources := map[schema.Hash][]string{}
	for i := range l.sightings {
		s := &l.sightings[i]
		sources[s.ClaimID] = append(sources[s.ClaimID], s.Source)
	}
	claims := make([]match.Claim, len(l.claims))
	for i := range l.claims {
		seen := sources[l.claims[i].ID]
		slices.Sort(seen)
		claims[i] = match.Claim{Claim: l.claims[i], Sources: slices.Compact(seen)}
	}
	return claims
}

func keysOf[K comparable, V any](set map[K]V) []K {
	keys := make([]K, 0, len(set))
	for k := range set {
		keys = append(keys, k)
	}
	return keys
}

// numbers writes pids into SQL, in their order.
func numbers(pids []uint64) []string {
	slices.Sort(pids)
	texts := make([]string, len(pids))
	for i, pid := range pids {
		texts[i] = strconv.FormatUint(pid, 10)
	}
	return texts
}

func pidsOf(keys map[schema.Key]bool) []string {
	pids := make([]uint64, 0, len(keys))
	for k := range keys {
		pids = append(pids, k.PID())
	}
	return numbers(pids)
}

func sorted(set map[string]bool) []string { return slices.Sorted(maps.Keys(set)) }

func payersOf(payers map[payer]bool) []string {
	texts := make([]string, 0, len(payers))
	for p := range payers {
		texts = append(texts, fmt.Sprintf("(%d,%s)", p.chain, literal(p.address[:])))
	}
	slices.Sort(texts)
	return texts
}

// values writes hashes into SQL, in their order, each once.
func values(hs []schema.Hash) []string {
	texts := make([]string, 0, len(hs))
	for _, h := range hs {
		texts = append(texts, literal(h[:]))
	}
	slices.Sort(texts)
	return slices.Compact(texts)
}

// hashes are the transactions of places, whatever their chain.
func hashes(txs map[place]bool) []string {
	all := make([]schema.Hash, 0, len(txs))
	for p := range txs {
		if p.tx != (schema.Hash{}) {
			all = append(all, p.tx)
		}
	}
	return values(all)
}

// at is a block's place on its chain.
type at struct{ chain, number uint64 }

func (a at) onChain() uint64    { return a.chain }
func (p place) onChain() uint64 { return p.chain }

// chainsOf is the condition that goes before one on blocks' numbers or on hashes of transactions. What it finds on another chain of theirs beside is nobody's; tuples would take longer to be
// understood than to be found.
func chainsOf[K interface {
	comparable
	onChain() uint64
}](places map[K]bool) string {
	chains := map[uint64]bool{}
	for p := range places {
		chains[p.onChain()] = true
	}
	return "chain_id IN (" + strings.Join(numbers(keysOf(chains)), ",") + ")"
}

// heights are the numbers of blocks, whatever their chain.
func heights(blocks map[at]bool) []string {
	all := make([]uint64, 0, len(blocks))
	for b := range blocks {
		all = append(all, b.number)
	}
	return slices.Compact(numbers(all))
}

// literal writes bytes into SQL, each as its hex, so that none ends a string early, and texts are in the order of the bytes. A string is understood ten times as fast as unhex of one.
func literal(b []byte) string {
	const digits = "0123456789abcdef"
	text := make([]byte, 0, 4*len(b)+2)
	text = append(text, '\'')
	for _, c := range b {
		text = append(text, '\\', 'x', digits[c>>4], digits[c&15])
	}
	return string(append(text, '\''))
}
