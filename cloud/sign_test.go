package cloud

import (
	"crypto/aes"
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// The vectors of testdata/signing.json are those that the standard prints, where they can be reproduced, and what follows
// from the same rules.
func TestPublishedSignatures(t *testing.T) {
	var vectors []struct{ ID, Alg, Key, IV, Input, Output string }
	data, err := os.ReadFile("testdata/signing.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &vectors); err != nil {
		t.Fatal(err)
	}
	tried := 0
	for _, v := range vectors {
		got := ""
		switch {
		case v.Alg == "MD5-32-UPPER":
			got = upperMD5(v.Input)
		case strings.HasPrefix(v.Alg, "AES"):
			block, err := aes.NewCipher([]byte(v.Key))
			if err != nil {
				t.Fatal(err)
			}
			got = encrypt(block, v.IV, v.Input)
		default:
			continue
		}
		tried++
		if got != v.Output {
			t.Errorf("%s: %s, want %s", v.ID, got, v.Output)
		}
	}
	if tried < 10 {
		t.Errorf("only %d vectors", tried)
	}
}

// The string to sign of 5.2.1.2 and 7.2.1.1, in the order of the parameters that the print does not have.
func TestRuleOf202(t *testing.T) {
	s, err := NewSigner(RuleMD5, Key{AccessKey: "123456", AccessSecret: "abcdefg"})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		parameters []Parameter
		want       string
	}{
		{[]Parameter{{"timeStamp", "1589167913"}, {"query", `{"adtStartTime":"2020-01-01 00:00:00","adtEndTime":"2020-01-02 00:00:00"}`}, {"areaId", "1asjlajsjfaslasdfasdfasfas"}}, "287CD8197006447BA90C1DB2CF295420"},
		{[]Parameter{{"query", `{"studyStartTime":"2020-01-01 00:00:00","studyEndTime":"2020-01-02 00:00:00"}`}, {"timeStamp", "1589167913"}, {"areaId", "1asjlajsjfaslasdfasdfasfas"}}, "AC9263A8B3D66E7D17A0D54C291B5165"},
	} {
		if got := s.Sign(row.parameters); got != row.want {
			t.Errorf("%v: %s, want %s", row.parameters, got, row.want)
		}
		if !s.Verify(row.parameters, strings.ToLower(row.want)) {
			t.Error("its lower-case form is refused")
		}
		for _, wrong := range []string{"", row.want[:31], row.want + "0", "0" + row.want[1:]} {
			if s.Verify(row.parameters, wrong) {
				t.Errorf("%q is taken for %s", wrong, row.want)
			}
		}
	}
}

func TestRuleOfAES(t *testing.T) {
	s, err := NewSigner(RuleAES, Key{AccessSecret: "qkzdcsilusqgph37", IV: "2rthacazxph2qtkt"})
	if err != nil {
		t.Fatal(err)
	}
	// printf 05871212#1.2.840.1#1620365451221 | openssl enc -aes-128-cbc -K 716b7a646373696c7573716770683337 -iv 327274686163617a7870683271746b74
	const want = "18A5C585335ADD618EA5B23C92D2CFA867C8A768ADCECF05C636B02AFD466FF0E10B3A84F9BADCD65FDAEFD581422362"
	got := s.Sign([]Parameter{{"StudyInstanceUID", "1.2.840.1"}, {"timeStamp", "1620365451221"}, {"HospitalCode", "05871212"}})
	if got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestBadKeys(t *testing.T) {
	for _, row := range []struct {
		rule Rule
		key  Key
		want string
	}{
		{RuleMD5, Key{AccessKey: "k"}, "access secret"},
		{RuleMD5, Key{AccessSecret: "s"}, "access key"},
		{RuleAES, Key{AccessSecret: "qkzdcsilusqgph37", IV: "2rthacazxph2qtk"}, "16"}, // as 6.2.5 prints it
		{RuleAES, Key{AccessSecret: "short", IV: "2rthacazxph2qtkt"}, "16"},
		{"sha1", Key{}, "not one of"},
	} {
		if _, err := NewSigner(row.rule, row.key); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s %+v: %v", row.rule, row.key, err)
		}
	}
}
