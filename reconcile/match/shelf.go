package match

// numbers counts keys up from 0 in the order in which they are first met, so that what is known of a key can lie in a slice.
type numbers[K comparable] struct {
	of   map[K]int32
	keys []K
}

func newNumbers[K comparable](room int) numbers[K] {
	return numbers[K]{make(map[K]int32, room), make([]K, 0, room)}
}

// number is the key's number; a key that is met for the first time gets the next one.
func (n *numbers[K]) number(k K) int32 {
	if i, ok := n.of[k]; ok {
		return i
	}
	i := int32(len(n.keys))
	n.of[k], n.keys = i, append(n.keys, k)
	return i
}

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
	begin := int32(0)
	if n > 0 {
		begin = s.ends[n-1]
	}
	return s.records[begin:s.ends[n]:s.ends[n]]
}
