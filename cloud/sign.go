package cloud

import (
	"bytes"
	"cmp"
	"crypto/aes"
	"crypto/cipher"
	"crypto/md5"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Parameter is a request's parameter as it is sent, before URL encoding.
type Parameter struct{ Name, Value string }

// Rule says how a request is signed.
type Rule string

// The rules. 203's own is missing from the standard (5.3.3, an empty row), so it is a setting.
const (
	// RuleMD5 is that of 202 and 401 (5.2.1.2): the MD5, in upper case, of accessKey, the parameters as name=value in the
	// ascending ASCII order of their names joined with &, and accessSecret.
	RuleMD5 Rule = "md5"
	// RuleAES is in the manner of 303 (6.2.4): the parameters' values in the same order joined with #, encrypted by
	// AES-128 in CBC mode with PKCS #7 padding, as hexadecimal digits in upper case. The access secret is the key.
	RuleAES Rule = "aes"
	// RuleNone signs nothing, for a closed network.
	RuleNone Rule = "none"
)

// Key is what the platform hands out to a client.
type Key struct {
	AccessKey    string
	AccessSecret string // by RuleAES the key, 16 bytes
	IV           string // by RuleAES, 16 bytes
}

// Signer signs requests with one key, and verifies signatures made with it.
type Signer struct {
	rule  Rule
	key   Key
	block cipher.Block
}

// NewSigner makes a Signer. A key or initialization vector that has not 16 bytes is an error by RuleAES: padding it would
// give signatures that nobody else makes.
func NewSigner(rule Rule, key Key) (*Signer, error) {
	s := &Signer{rule: rule, key: key}
	switch rule {
	case RuleMD5:
		if key.AccessKey == "" || key.AccessSecret == "" {
			return nil, errors.New("an access key and an access secret are needed")
		}
	case RuleAES:
		if len(key.AccessSecret) != aes.BlockSize || len(key.IV) != aes.BlockSize {
			return nil, fmt.Errorf("access secret and iv have %d and %d bytes; AES-128 takes 16 of each", len(key.AccessSecret), len(key.IV))
		}
		var err error
		if s.block, err = aes.NewCipher([]byte(key.AccessSecret)); err != nil {
			return nil, err
		}
	case RuleNone:
	default:
		return nil, fmt.Errorf("signature rule %q is not one of md5, aes, none", rule)
	}
	return s, nil
}

// AccessKey names the key.
func (s *Signer) AccessKey() string { return s.key.AccessKey }

// Sign returns the signature of a request with these parameters, "" by RuleNone.
func (s *Signer) Sign(parameters []Parameter) string {
	sorted := slices.Clone(parameters)
	slices.SortStableFunc(sorted, func(a, b Parameter) int { return cmp.Compare(a.Name, b.Name) })
	switch s.rule {
	case RuleMD5:
		return upperMD5(s.key.AccessKey + join(sorted, "&", Parameter.pair) + s.key.AccessSecret)
	case RuleAES:
		return encrypt(s.block, s.key.IV, join(sorted, "#", Parameter.value))
	}
	return ""
}

// Verify tells whether signature is that of a request with these parameters, in time that does not depend on how much of
// it is right. Digits may be in lower case.
func (s *Signer) Verify(parameters []Parameter, signature string) bool {
	want := s.Sign(parameters)
	return subtle.ConstantTimeCompare([]byte(want), []byte(strings.ToUpper(signature))) == 1
}

func (p Parameter) pair() string  { return p.Name + "=" + p.Value }
func (p Parameter) value() string { return p.Value }

func join(parameters []Parameter, separator string, text func(Parameter) string) string {
	texts := make([]string, len(parameters))
	for i, p := range parameters {
		texts[i] = text(p)
	}
	return strings.Join(texts, separator)
}

// upperMD5 is what the standard demands. The secret comes last, so that nobody can extend what was signed.
func upperMD5(text string) string {
	sum := md5.Sum([]byte(text))
	return upperHex(sum[:])
}

func encrypt(block cipher.Block, iv, text string) string {
	padding := aes.BlockSize - len(text)%aes.BlockSize
	b := append([]byte(text), bytes.Repeat([]byte{byte(padding)}, padding)...)
	cipher.NewCBCEncrypter(block, []byte(iv)).CryptBlocks(b, b)
	return upperHex(b)
}

func upperHex(b []byte) string { return strings.ToUpper(hex.EncodeToString(b)) }
