package match

import (
	"encoding/binary"
	"hash/maphash"

	"x402audit/schema"
)

// numbers counts keys up from 0 in the order in which they are first met, so that what is known of a key can lie in a slice. It is a hash table that
// holds nothing but numbers: a map of keys as large as these would not stay in the processor's cache.
type numbers[K any] struct {
	seed  maphash.Seed
	hash  func(maphash.Seed, *K) uint64
	same  func(a, b *K) bool
	slots []uint64 // a power of two, at most half of them used: the key's number + 1, and above it the upper half of its hash
	keys  []K
	last  int32 // the number that was asked for last
	asked K     // that key: one that stayed with who asks would be put on the heap for every question
}

// newNumbers has room for as many keys before it grows.
func newNumbers[K any](room int, hash func(maphash.Seed, *K) uint64, same func(a, b *K) bool) (n numbers[K]) {
	n.reset(room, hash, same)
	return n
}

// reset forgets all keys, and keeps their memory.
func (n *numbers[K]) reset(room int, hash func(maphash.Seed, *K) uint64, same func(a, b *K) bool) {
	n.seed, n.hash, n.same = maphash.MakeSeed(), hash, same
	n.keys, n.last = emptied(n.keys, room), 0
	n.spread(max(room, 4))
}

// number is the key's number; a key that is met for the first time gets the next one.
func (n *numbers[K]) number(k *K) int32 {
	n.asked = *k
	if n.follows() {
		return n.last
	}
	i, hash, slot := n.look(&n.asked)
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
	n.asked = *k
	if n.follows() {
		return n.last, true
	}
	if i, _, _ = n.look(&n.asked); i >= 0 {
		n.last = i
	}
	return i, i >= 0
}

// follows finds a key that is the same as the last one or has the next number, without a look into the table: what belongs together often comes together, and what
// was numbered in one order is often asked for in the same.
func (n *numbers[K]) follows() bool {
	for i := n.last; i < min(n.last+2, int32(len(n.keys))); i++ {
		if n.same(&n.keys[i], &n.asked) {
			n.last = i
			return true
		}
	}
	return false
}

// look finds a key's number, or -1 and the slot that it would take.
func (n *numbers[K]) look(k *K) (i int32, hash uint64, slot int) {
	hash = n.hash(n.seed, k)
	mask := len(n.slots) - 1
	for slot = int(hash) & mask; n.slots[slot] != 0; slot = (slot + 1) & mask {
		i = int32(uint32(n.slots[slot])) - 1
		if n.slots[slot]>>32 == hash>>32 && n.same(&n.keys[i], k) {
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
	if size <= cap(n.slots) {
		n.slots = n.slots[:size]
		clear(n.slots)
	} else {
		n.slots = make([]uint64, size)
	}
	for i := range n.keys {
		_, hash, slot := n.look(&n.keys[i])
		n.slots[slot] = hash>>32<<32 | uint64(i+1)
	}
}

// hashKey looks at what a payer can choose; chains and methods are few.
func hashKey(seed maphash.Seed, k *schema.Key) uint64 {
	var b [len(k.Token) + len(k.Authorizer) + len(k.Nonce)]byte
	copy(b[:], k.Token[:])
	copy(b[len(k.Token):], k.Authorizer[:])
	copy(b[len(k.Token)+len(k.Authorizer):], k.Nonce[:])
	return maphash.Bytes(seed, b[:])
}

// sameKey looks at the nonce first: it tells nearly all apart.
func sameKey(a, b *schema.Key) bool {
	return binary.LittleEndian.Uint64(a.Nonce[:]) == binary.LittleEndian.Uint64(b.Nonce[:]) && *a == *b
}

// hashPlace leaves the chains out: they are few.
func hashPlace(seed maphash.Seed, p *place) uint64 { return maphash.Bytes(seed, p.tx[:]) }

func samePlace(a, b *place) bool {
	return binary.LittleEndian.Uint64(a.tx[:]) == binary.LittleEndian.Uint64(b.tx[:]) && *a == *b
}

// shelf holds records by the number of the payment that they belong to: one piece of memory for all, cut into places.
type shelf[R any] struct {
	ends    []int32 // of each number's place; it begins where the one before ends
	records []*R
}

// fill puts records into the places of their numbers, in their own order.
func (s *shelf[R]) fill(places int, of []int32, records []*R) {
	s.ends, s.records = cleared(s.ends, places), emptied(s.records, len(records))[:len(records)]
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

// emptied is an empty slice with room for so many, of the memory of one that is not needed any more where that is enough.
func emptied[T any](used []T, room int) []T {
	if cap(used) < room {
		return make([]T, 0, room)
	}
	return used[:0]
}

// cleared is a slice of so many zero values, of the memory of one that is not needed any more where that is enough.
func cleared[T any](used []T, n int) []T {
	s := emptied(used, n)[:n]
	clear(s)
	return s
}
