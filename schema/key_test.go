package schema

import (
	"cmp"
	"testing"

	"pgregory.net/rapid"
)

func drawKey(t *rapid.T) Key {
	bytes := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 0xff}), 72, 72).Draw(t, "bytes")
	return Key{
		ChainID: rapid.SampledFrom([]uint64{1, 10, 8453, 84532, 137}).Draw(t, "chain"),
		Token:   Address(bytes[:20]), Method: rapid.SampledFrom([]Method{MethodEIP3009, MethodPermit2, MethodClaim, MethodChannel}).Draw(t, "method"),
		Authorizer: Address(bytes[20:40]), Nonce: Hash(bytes[40:72]),
	}
}

func TestKeys(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawKey(t), drawKey(t)
		if got, want := a.Compare(b), cmp.Compare(a.ID(), b.ID()); got != want {
			t.Errorf("%s against %s: %d, as payment_ids %d", a.ID(), b.ID(), got, want)
		}
		back, err := ParseKey(a.ID())
		if err != nil || back != a {
			t.Errorf("%s read back as %s (%v)", a.ID(), back.ID(), err)
		}
	})
	for _, bad := range []string{"", "1:2:3", "x:0x:eip3009:0x:0x", "8453:0x12:eip3009:0x12:0x12"} {
		if _, err := ParseKey(bad); err == nil {
			t.Errorf("%q passed as a payment_id", bad)
		}
	}
}

func TestAmounts(t *testing.T) {
	f := func(units string, decimals uint8, want string) {
		t.Helper()
		a, err := ParseAmount(units)
		if err != nil {
			t.Fatal(err)
		}
		if got := FormatUnits(a.Units, decimals); got != want {
			t.Errorf("%s with %d decimals is %s, want %s", units, decimals, got, want)
		}
	}
	f("1500", 6, "0.001500")
	f("1", 6, "0.000001")
	f("12345678", 6, "12.345678")
	f("0", 6, "0.000000")
	f("7", 0, "7")
	f("115792089237316195423570985008687907853269984665640564039457584007913129639935", 18, "115792089237316195423570985008687907853269984665640564039457.584007913129639935")
	for _, bad := range []string{"", "-1", "+1", "1.5", "0x10", "1e3", "115792089237316195423570985008687907853269984665640564039457584007913129639936"} {
		if _, err := ParseAmount(bad); err == nil {
			t.Errorf("%q passed as an amount", bad)
		}
	}
}
