package indexer

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode"

	"x402audit/schema"
)

// eventLogs is an answer to eth_getLogs, read straight from the response's bytes into events: no value in between and, in the usual shape, no
// allocation a log. Logs that the node itself says are gone with a reorg are left out.
type eventLogs []event

// UnmarshalJSON reads the array.
func (l *eventLogs) UnmarshalJSON(text []byte) error {
	s := scanner{text: text}
	end, err := s.logs(0, l)
	if errors.Is(err, errUnknown) || err == nil && s.space(end) != len(text) {
		return l.plain(text)
	}
	return err
}

// plain reads the array with encoding/json. What the scanner accepts, this accepts with the same events.
func (l *eventLogs) plain(text []byte) error {
	*l = (*l)[:0]
	var logs []chainLog
	if err := json.Unmarshal(text, &logs); err != nil {
		return err
	}
	for i := range logs {
		if err := l.add(&logs[i]); err != nil {
			return err
		}
	}
	return nil
}

func (l *eventLogs) add(c *chainLog) error {
	if c.Index > math.MaxUint32 || c.TxIndex > math.MaxUint32 {
		return fmt.Errorf("log %d of transaction %d in block %d: no block holds so many", c.Index, c.TxIndex, c.BlockNumber)
	}
	if !c.Removed {
		*l = append(*l, decode(c))
	}
	return nil
}

// errUnknown is the scanner's word for what it leaves to encoding/json.
var errUnknown = errors.New("unknown to the scanner")

// scanner reads logs as nodes write them: keys in any order, keys it does not know skipped. It holds every value to the form that nodes
// use, and leaves a log that has any other to encoding/json. Whatever repeats from log to log is decoded once.
type scanner struct {
	text []byte

	token, event, block, transaction memo

	order [16]knownKey // of the log before; most often this one's too

	topics   [4]schema.Hash
	nTopics  int
	data     schema.Hash
	dataSize int
}

// memo is the last value of a field, with the text that it was read from.
type memo struct {
	text [64]byte
	size int
	word schema.Hash
}

const (
	keyAddress = 1 << iota
	keyTopics
	keyData
	keyBlockNumber
	keyBlockHash
	keyBlockTime
	keyTransaction
	keyTxIndex
	keyIndex
	keyRemoved
)

// knownKeys are the keys that are not skipped. encoding/json matches them in any case.
var knownKeys = []knownKey{
	newKey(keyAddress, `"address":`),
	newKey(keyTopics, `"topics":`),
	newKey(keyData, `"data":`),
	newKey(keyBlockNumber, `"blockNumber":`),
	newKey(keyBlockHash, `"blockHash":`),
	newKey(keyBlockTime, `"blockTimestamp":`),
	newKey(keyTransaction, `"transactionHash":`),
	newKey(keyTxIndex, `"transactionIndex":`),
	newKey(keyIndex, `"logIndex":`),
	newKey(keyRemoved, `"removed":`),
}

// knownKey is a key as it stands in the text, with its quotes and the colon, and the same in three words, which are compared at once.
type knownKey struct {
	key         int
	text        string
	word, masks [3]uint64
}

func newKey(key int, text string) knownKey {
	k := knownKey{key: key, text: text}
	var letters, mask [24]byte
	for i := range copy(letters[:], text) {
		mask[i] = 0xff
	}
	for i := range k.word {
		k.word[i], k.masks[i] = binary.LittleEndian.Uint64(letters[8*i:]), binary.LittleEndian.Uint64(mask[8*i:])
	}
	return k
}

// begins tells whether the key stands at the beginning of a text. Of one that ends near, it does not look.
func (k *knownKey) begins(text []byte) bool {
	if len(text) < 24 || k.key == 0 {
		return false
	}
	differ := (binary.LittleEndian.Uint64(text)^k.word[0])&k.masks[0] |
		(binary.LittleEndian.Uint64(text[8:])^k.word[1])&k.masks[1] |
		(binary.LittleEndian.Uint64(text[16:])^k.word[2])&k.masks[2]
	return differ == 0
}

// logs reads the array of logs at i and returns where it ends.
func (s *scanner) logs(i int, into *eventLogs) (end int, err error) {
	*into = (*into)[:0]
	if i = s.space(i); s.at(i) != '[' {
		return 0, errUnknown
	}
	*into = slices.Grow(*into, (len(s.text)-i)/logBytes+1) // of an answer in a batch, that is nearly all of the text
	if i = s.space(i + 1); s.at(i) == ']' {
		return i + 1, nil
	}
	for {
		*into = append(*into, event{})
		e := &(*into)[len(*into)-1]
		end, removed, ok := s.log(i, e)
		if !ok {
			// Of this one log, encoding/json knows more.
			*into = (*into)[:len(*into)-1]
			if end, ok = s.skip(i, 0); !ok {
				return 0, errUnknown
			}
			var c chainLog
			if err := json.Unmarshal(s.text[i:end], &c); err != nil {
				return 0, err
			}
			if err := into.add(&c); err != nil {
				return 0, err
			}
		} else if removed {
			*into = (*into)[:len(*into)-1]
		}
		i = s.space(end)
		switch s.at(i) {
		case ',':
			i = s.space(i + 1)
		case ']':
			return i + 1, nil
		default:
			return 0, errUnknown
		}
	}
}

// log reads the log at i into e, which is zero.
func (s *scanner) log(i int, e *event) (end int, removed, ok bool) {
	s.nTopics, s.dataSize = 0, 0
	if s.at(i) != '{' {
		return 0, false, false
	}
	i = s.space(i + 1)
	var seen int
	for at := 0; ; at++ {
		var key int
		var n uint64
		if k := &s.order[at%len(s.order)]; k.begins(s.text[i:]) {
			key = k.key
			i = s.space(i + len(k.text))
		} else if i, key, ok = s.key(i, at); !ok {
			return 0, false, false
		}
		switch key {
		case keyAddress:
			if i, ok = s.repeated(i, &s.token, 40); ok {
				e.token = schema.Address(s.token.word[:20])
			}
		case keyBlockHash:
			if i, ok = s.repeated(i, &s.block, 64); ok {
				e.blockHash = s.block.word
			}
		case keyTransaction:
			if i, ok = s.repeated(i, &s.transaction, 64); ok {
				e.transaction = s.transaction.word
			}
		case keyTopics:
			i, ok = s.words(i)
		case keyData:
			i, ok = s.bytes(i)
		case keyBlockNumber:
			i, e.blockNumber, ok = s.number(i)
		case keyBlockTime:
			i, n, ok = s.number(i)
			e.blockTime = int64(n)
		case keyTxIndex:
			i, n, ok = s.number(i)
			e.txIndex, ok = uint32(n), ok && n <= math.MaxUint32
		case keyIndex:
			i, n, ok = s.number(i)
			e.index, ok = uint32(n), ok && n <= math.MaxUint32
		case keyRemoved:
			i, removed, ok = s.bool(i)
		default:
			i, ok = s.skip(i, 0)
		}
		if !ok || seen&key != 0 {
			return 0, false, false
		}
		seen |= key
		i = s.space(i)
		switch s.at(i) {
		case ',':
			i = s.space(i + 1)
		case '}':
			e.read(s.topics[:s.nTopics], s.data[:s.dataSize])
			return i + 1, removed, true
		default:
			return 0, false, false
		}
	}
}

// key reads the key at i, which is a log's at-th, and goes to its value. An unknown key is 0.
func (s *scanner) key(i, at int) (value, key int, ok bool) {
	if s.at(i) != '"' {
		return 0, 0, false
	}
	start := i
	for i++; i < len(s.text) && s.text[i] != '"'; i++ {
		if c := s.text[i]; c < ' ' || c >= 0x80 || c == '\\' {
			return 0, 0, false
		}
	}
	if i == len(s.text) {
		return 0, 0, false
	}
	name := s.text[start : i+1]
	if i = s.space(i + 1); s.at(i) != ':' {
		return 0, 0, false
	}
	for _, k := range knownKeys {
		if known := k.text[:len(k.text)-1]; known == string(name) {
			s.order[at%len(s.order)] = k
			key = k.key
		} else if len(known) == len(name) && strings.EqualFold(known, string(name)) {
			return 0, 0, false
		}
	}
	return s.space(i + 1), key, true
}

// at is the byte at i, or 0 behind the end.
func (s *scanner) at(i int) byte {
	if i < len(s.text) {
		return s.text[i]
	}
	return 0
}

// space passes over white space, of which nodes write none.
func (s *scanner) space(i int) int {
	if i < len(s.text) && s.text[i] > ' ' {
		return i
	}
	return s.spaces(i)
}

func (s *scanner) spaces(i int) int {
	for i < len(s.text) && (s.text[i] == ' ' || s.text[i] == '\n' || s.text[i] == '\t' || s.text[i] == '\r') {
		i++
	}
	return i
}

// hex finds the n digits of "0x…" at i, and where the string ends. Whether they are digits is not looked at.
func (s *scanner) hex(i, n int) (digits []byte, end int, ok bool) {
	end = i + n + 4
	if end > len(s.text) || s.text[i] != '"' || s.text[i+1] != '0' || s.text[i+2] != 'x' || s.text[end-1] != '"' {
		return nil, 0, false
	}
	return s.text[i+3 : end-1], end, true
}

// repeated reads a word of n digits that often is the one before.
func (s *scanner) repeated(i int, m *memo, n int) (end int, ok bool) {
	digits, end, ok := s.hex(i, n)
	if !ok {
		return 0, false
	}
	if m.size == n && string(m.text[:n]) == string(digits) {
		return end, true
	}
	m.size = 0
	if n == 64 && !unhexWord(&m.word, (*[64]byte)(digits)) || n != 64 && !unhex(m.word[:n/2], digits) {
		return 0, false
	}
	m.size = copy(m.text[:], digits)
	return end, true
}

func (s *scanner) words(i int) (end int, ok bool) {
	if s.at(i) != '[' {
		return 0, false
	}
	if i = s.space(i + 1); s.at(i) == ']' {
		return i + 1, true
	}
	if end, ok = s.repeated(i, &s.event, 64); !ok {
		return 0, false
	}
	s.topics[0] = s.event.word
	for s.nTopics = 1; ; s.nTopics++ {
		i = s.space(end)
		switch s.at(i) {
		case ',':
			i = s.space(i + 1)
		case ']':
			return i + 1, true
		default:
			return 0, false
		}
		if s.nTopics == len(s.topics) {
			return 0, false
		}
		if end, ok = s.word(i, &s.topics[s.nTopics]); !ok {
			return 0, false
		}
	}
}

func (s *scanner) word(i int, into *schema.Hash) (end int, ok bool) {
	digits, end, ok := s.hex(i, 64)
	return end, ok && unhexWord(into, (*[64]byte)(digits))
}

// bytes reads data: one word or nothing.
func (s *scanner) bytes(i int) (end int, ok bool) {
	if _, end, ok := s.hex(i, 0); ok {
		return end, true
	}
	if end, ok = s.word(i, &s.data); !ok {
		return 0, false
	}
	s.dataSize = len(s.data)
	return end, true
}

// number reads a quantity: no leading zero, and 64 bits at most.
func (s *scanner) number(i int) (end int, n uint64, ok bool) {
	if i+5 > len(s.text) || s.text[i] != '"' || s.text[i+1] != '0' || s.text[i+2] != 'x' {
		return 0, 0, false
	}
	start := i + 3
	for i = start; i < len(s.text) && nibbles[s.text[i]] < 16; i++ {
		n = n<<4 | uint64(nibbles[s.text[i]])
	}
	size := i - start
	return i + 1, n, s.at(i) == '"' && size > 0 && size <= 16 && (size == 1 || s.text[start] != '0')
}

func (s *scanner) bool(i int) (end int, b, ok bool) {
	switch rest := s.text[i:]; {
	case len(rest) > 5 && string(rest[:5]) == "false":
		return i + 5, false, true
	case len(rest) > 4 && string(rest[:4]) == "true":
		return i + 4, true, true
	}
	return 0, false, false
}

// maxDepth of values that are skipped; encoding/json gives up only at 10,000.
const maxDepth = 200

// skip passes over any JSON value at i, as strictly as encoding/json, and returns where it ends.
func (s *scanner) skip(i, depth int) (end int, ok bool) {
	if depth > maxDepth {
		return 0, false
	}
	switch c := s.at(i); {
	case c == '"':
		return s.skipString(i)
	case c == '{' || c == '[':
		closing := c + 2 // in ASCII, of both
		if i = s.space(i + 1); s.at(i) == closing {
			return i + 1, true
		}
		for {
			if c == '{' {
				if i, ok = s.skipString(i); !ok {
					return 0, false
				}
				if i = s.space(i); s.at(i) != ':' {
					return 0, false
				}
				i = s.space(i + 1)
			}
			if i, ok = s.skip(i, depth+1); !ok {
				return 0, false
			}
			i = s.space(i)
			switch s.at(i) {
			case ',':
				i = s.space(i + 1)
			case closing:
				return i + 1, true
			default:
				return 0, false
			}
		}
	case c == '-' || c >= '0' && c <= '9':
		return s.skipNumber(i)
	}
	for _, word := range [...]string{"null", "true", "false"} {
		if end := i + len(word); end <= len(s.text) && string(s.text[i:end]) == word {
			return end, true
		}
	}
	return 0, false
}

func (s *scanner) skipString(i int) (end int, ok bool) {
	if s.at(i) != '"' {
		return 0, false
	}
	for i++; i < len(s.text); i++ {
		switch c := s.text[i]; {
		case c == '"':
			return i + 1, true
		case c < ' ':
			return 0, false
		case c == '\\':
			i++
			switch s.at(i) {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			case 'u':
				var code [2]byte
				if i+4 >= len(s.text) || !unhex(code[:], s.text[i+1:i+5]) {
					return 0, false
				}
				i += 4
			default:
				return 0, false
			}
		}
	}
	return 0, false
}

func (s *scanner) skipNumber(i int) (end int, ok bool) {
	digits := func() bool {
		start := i
		for s.at(i) >= '0' && s.at(i) <= '9' {
			i++
		}
		return i > start
	}
	if s.at(i) == '-' {
		i++
	}
	if s.at(i) == '0' {
		i++
	} else if !digits() {
		return 0, false
	}
	if s.at(i) == '.' {
		if i++; !digits() {
			return 0, false
		}
	}
	if c := s.at(i); c == 'e' || c == 'E' {
		if i++; s.at(i) == '+' || s.at(i) == '-' {
			i++
		}
		if !digits() {
			return 0, false
		}
	}
	return i, true
}

// nibbles are the values of hex digits of either case, 0xff for any other character.
var nibbles = func() (values [256]byte) {
	for i := range values {
		values[i] = 0xff
	}
	for i, c := range "0123456789abcdef" {
		values[c], values[unicode.ToUpper(c)] = byte(i), byte(i)
	}
	return values
}()

// pairs are the bytes that two digits make, by the two characters as a little-endian word, plus isPair. Anything else makes 0. One look-up for two digits
// is faster than any arithmetic, and a node's lower-case digits touch but 2 kB of it.
var pairs = func() (values [1 << 16]uint16) {
	for high := range 256 {
		for low := range 256 {
			if nibbles[high] < 16 && nibbles[low] < 16 {
				values[low<<8|high] = isPair | uint16(nibbles[high])<<4 | uint16(nibbles[low])
			}
		}
	}
	return values
}()

const isPair = 0x100

// unhex reads digits into dst, and tells whether all were digits. len(digits) is 2·len(dst).
func unhex(dst, digits []byte) bool {
	all := uint16(isPair)
	for i := range dst {
		pair := pairs[binary.LittleEndian.Uint16(digits[2*i:])]
		dst[i] = byte(pair)
		all &= pair
	}
	return all != 0
}

// unhexWord is unhex of a whole word, eight digits at a time.
func unhexWord(dst *schema.Hash, digits *[64]byte) bool {
	all := uint16(isPair)
	for i := 0; i < len(dst); i += 4 {
		eight := binary.LittleEndian.Uint64(digits[2*i:])
		if eight == 0x3030303030303030 { // zeros are half of all digits: the fill of addresses and amounts
			binary.LittleEndian.PutUint32(dst[i:], 0)
			continue
		}
		a, b, c, d := pairs[uint16(eight)], pairs[uint16(eight>>16)], pairs[uint16(eight>>32)], pairs[uint16(eight>>48)]
		all &= a & b & c & d
		binary.LittleEndian.PutUint32(dst[i:], uint32(byte(a))|uint32(byte(b))<<8|uint32(byte(c))<<16|uint32(byte(d))<<24)
	}
	return all != 0
}
