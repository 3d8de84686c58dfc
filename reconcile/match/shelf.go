package match

import (
	"hash/maphash"

	"x402audit/schema"
)

// numbers counts keys up from 0 in the order in which they are first met, so that what is known of a key can lie in a slice. It is a hash table that
// holds nothing but numbers: a map of keys as large as these would not stay in the processor's cache.
type numbers[K comparable] struct {
	seed  maphash.Seed
	hash  func(maphash.Seed, K) uint64
	slots []uint64 // a power of two, at most half of them used: the key's number + 1, and above it the upper half of its hash
	keys  []K
	last  int32 // the number that was asked for last
}

// newNumbers has room for as many keys before it grows.
func newNumbers[K comparable](room int, hash func(maphash.Seed, K) uint64) numbers[K] {
	n := numbers[K]{seed: maphash.MakeSeed(), hash: hash, keys: make([]K, 0, room)}
	n.spread(max(room, 4))
	return n
}

// number is the key's number; a key that is met for the first time gets the next one.
func (n *numbers[K]) number(k *K) int32 {
	if n.follows(k) {
		return n.last
	}
	i, hash, slot := n.look(k)
	if i < 0 {
		i = int32(len(n.keys))
		n.keys = append(n.keys, *k)
		n.slots[slot] = hash>>32<<32 | uint64(i+1)
		if 2*len(n.keys) > len(n.slots) {
			n.spread(2 * len(n.keys))
		}
	}
	n.last = i
	return i
}

// find is the number of a key that was met before.
func (n *numbers[K]) find(k *K) (i int32, met bool) {
	if n.follows(k) {
		return n.last, true
	}
	if i, _, _ = n.look(k); i >= 0 {
		n.last = i
	}
	return i, i >= 0
}

// follows finds a key that is the same as the last one or has the next number, without a look into the table: what belongs together often comes together, and what
// was numbered in one order is often asked for in the same.
func (n *numbers[K]) follows(k *K) bool {
	for i := n.last; i < min(n.last+2, int32(len(n.keys))); i++ {
		if n.keys[i] == *k {
			n.last = i
			return true
		}
	}
	return false
}

// look finds a key's number, or -1 and the slot that it would take.
func (n *numbers[K]) look(k *K) (i int32, hash uint64, slot int) {
	hash = n.hash(n.seed, *k)
	mask := len(n.slots) - 1
	for slot = int(hash) & mask; n.slots[slot] != 0; slot = (slot + 1) & mask {
		i = int32(uint32(n.slots[slot])) - 1
		if n.slots[slot]>>32 == hash>>32 && n.keys[i] == *k {
			return i, hash, slot
		}
	}
	return -1, hash, slot
}

// spread makes the table large enough for as many keys and puts those that are there in again.
func (n *numbers[K]) spread(room int) {
	size := 8
	for size < 2*room {
		size *= 2
	}
	n.slots = make([]uint64, size)
	for i := range n.keys {
		_, hash, slot := n.look(&n.keys[i])
		n.slots[slot] = hash>>32<<32 | uint64(i+1)
	}
}

// hashKey looks at what a payer can choose; chains and methods are few.
func hashKey(seed maphash.Seed, k schema.Key) uint64 {
	var b [len(k.Token) + len(k.Authorizer) + len(k.Nonce)]byte
	copy(b[:], k.Token[:])
	copy(b[len(k.Token):], k.Authorizer[:])
	copy(b[len(k.Token)+len(k.Authorizer):], k.Nonce[:])
	return maphash.Bytes(seed, b[:])
}

// hashPlace leaves the chains out: they are few.
func hashPlace(seed maphash.Seed, p place) uint64 { return maphash.Bytes(seed, p.tx[:]) }

// shelf holds records by the number of the payment that they belong to: one piece of memory for all, cut into places.
type shelf[R any] struct {
	ends    []int32 // of each number's place; it begins where the one before ends
	records []*R
}

// newShelf puts records into the places of their numbers, in their own order.
func newShelf[R any](places int, of []int32, records []*R) shelf[R] {
	s := shelf[R]{make([]int32, places), make([]*R, len(records))}
	for _, n := range of {
		s.ends[n]++
	}
	end := int32(0)
	for n, count := range s.ends {
		s.ends[n] = end // for now where it begins
		end += count
	}
	for i, r := range records {
		n := of[i]
		s.records[s.ends[n]] = r
		s.ends[n]++
	}
	return s
}

// at lists the records of one number. Numbers that came later have none.
func (s *shelf[R]) at(n int32) []*R {
	if int(n) >= len(s.ends) {
		return nil
	}
	begin := s.begin(n)
	return s.records[begin:s.ends[n]:s.ends[n]]
}

// begin is where the place of a number begins.
func (s *shelf[R]) begin(n int32) int32 {
	if n == 0 {
		return 0
	}
	return s.ends[n-1]
}
