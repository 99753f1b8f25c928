package dicom

import (
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
)

// codeSet is a set of graphic characters as ISO 2022 has them: designated by an
// escape sequence to G0, of which the codes have the upper bit clear, or to G1,
// of which they have it set (PS3.5 6.1.2).
type codeSet struct {
	escape string // without ESC
	g1     bool
	wide   bool // two bytes for a character

	// decode returns the character of a code, b being 0 unless it is wide;
	// utf8.RuneError if there is none.
	decode func(a, b byte) rune
	// encode appends the code of a character, if it has one.
	encode func(dst []byte, r rune) ([]byte, bool)
}

// The code sets of PS3.3 tables C.12-3 and C.12-4, by the number of their first
// registration where they have no better name.
var (
	ascii    = &codeSet{escape: "(B", decode: func(a, _ byte) rune { return rune(a) }, encode: encodeASCII}
	romaji   = &codeSet{escape: "(J", decode: decodeRomaji, encode: encodeRomaji} // JIS X 0201
	katakana = &codeSet{escape: ")I", g1: true, decode: decodeKatakana, encode: encodeKatakana}
	thai     = &codeSet{escape: "-T", g1: true, decode: decodeThai, encode: encodeThai} // TIS 620
	latin1   = supplement("-A", charmap.ISO8859_1)
	latin2   = supplement("-B", charmap.ISO8859_2)
	latin3   = supplement("-C", charmap.ISO8859_3)
	latin4   = supplement("-D", charmap.ISO8859_4)
	cyrillic = supplement("-L", charmap.ISO8859_5)
	arabic   = supplement("-G", charmap.ISO8859_6)
	greek    = supplement("-F", charmap.ISO8859_7)
	hebrew   = supplement("-H", charmap.ISO8859_8)
	latin5   = supplement("-M", charmap.ISO8859_9)
	latin9   = supplement("-b", charmap.ISO8859_15)
	kanji    = &codeSet{escape: "$B", wide: true, decode: decodeKanji, encode: encodeKanji}                            // JIS X 0208
	kanji2   = &codeSet{escape: "$(D", wide: true, decode: decodeSupplementaryKanji, encode: encodeSupplementaryKanji} // JIS X 0212
	hangul   = &codeSet{escape: "$)C", g1: true, wide: true, decode: decodeHangul, encode: encodeHangul}               // KS X 1001
	hanzi    = &codeSet{escape: "$)A", g1: true, wide: true, decode: decodeHanzi, encode: encodeHanzi}                 // GB 2312
)

// codeSets by escape sequence.
var codeSets = func() map[string]*codeSet {
	m := map[string]*codeSet{"$@": kanji} // the edition of 1978, near enough
	for _, c := range []*codeSet{ascii, romaji, katakana, thai, latin1, latin2, latin3, latin4, cyrillic, arabic,
		greek, hebrew, latin5, latin9, kanji, kanji2, hangul, hanzi} {
		m[c.escape] = c
	}
	return m
}()

// supplement is the upper half of a part of ISO 8859.
func supplement(escape string, m *charmap.Charmap) *codeSet {
	return &codeSet{
		escape: escape,
		g1:     true,
		decode: func(a, _ byte) rune { return m.DecodeByte(a) },
		encode: func(dst []byte, r rune) ([]byte, bool) {
			b, ok := m.EncodeRune(r)
			if !ok || b < 0xA0 {
				return dst, false
			}
			return append(dst, b), true
		},
	}
}

func encodeASCII(dst []byte, r rune) ([]byte, bool) {
	if r >= utf8.RuneSelf {
		return dst, false
	}
	return append(dst, byte(r)), true
}

// JIS X 0201 differs from ASCII in two places. In one of them is the delimiter of
// values, so that a yen sign can be read where there is one value only, see
// decoder.delimits, and is never written.
func decodeRomaji(a, _ byte) rune {
	switch a {
	case '\\':
		return '¥'
	case '~':
		return '‾'
	}
	return rune(a)
}

func encodeRomaji(dst []byte, r rune) ([]byte, bool) {
	switch {
	case r == '‾':
		return append(dst, '~'), true
	case r == '~' || r >= utf8.RuneSelf:
		return dst, false
	}
	return append(dst, byte(r)), true
}

const (
	firstKatakana = '｡' // U+FF61, code A1
	lastKatakana  = 'ﾟ' // U+FF9F, code DF
)

func decodeKatakana(a, _ byte) rune {
	if a < 0xA1 || a > 0xDF {
		return utf8.RuneError
	}
	return firstKatakana + rune(a-0xA1)
}

func encodeKatakana(dst []byte, r rune) ([]byte, bool) {
	if r < firstKatakana || r > lastKatakana {
		return dst, false
	}
	return append(dst, byte(r-firstKatakana+0xA1)), true
}

// Thai of TIS 620 stands in Unicode in the same order, from U+0E01 at code A1.
func decodeThai(a, _ byte) rune {
	if a < 0xA1 || (a > 0xDA && a < 0xDF) || a > 0xFB {
		return utf8.RuneError
	}
	return 0x0E00 + rune(a-0xA0)
}

func encodeThai(dst []byte, r rune) ([]byte, bool) {
	a := byte(r - 0x0E00 + 0xA0)
	if r <= 0x0E00 || r > 0x0E5B || decodeThai(a, 0) != r {
		return dst, false
	}
	return append(dst, a), true
}

// The sets of two bytes are found within the encodings that combine them with
// others: EUC-JP, EUC-KR and GBK.

func decodeKanji(a, b byte) rune { return decodeOne(japanese.EUCJP, a|0x80, b|0x80) }

func encodeKanji(dst []byte, r rune) ([]byte, bool) {
	code := encodeOne(japanese.EUCJP, r)
	if len(code) != 2 || code[0] < 0xA1 { // 8E introduces katakana
		return dst, false
	}
	return append(dst, code[0]&0x7F, code[1]&0x7F), true
}

func decodeSupplementaryKanji(a, b byte) rune { return decodeOne(japanese.EUCJP, 0x8F, a|0x80, b|0x80) }

func encodeSupplementaryKanji(dst []byte, r rune) ([]byte, bool) {
	code := encodeOne(japanese.EUCJP, r)
	if len(code) != 3 {
		return dst, false
	}
	return append(dst, code[1]&0x7F, code[2]&0x7F), true
}

func decodeHangul(a, b byte) rune { return decodeOne(korean.EUCKR, a, b) }

func encodeHangul(dst []byte, r rune) ([]byte, bool) {
	code := encodeOne(korean.EUCKR, r)
	if len(code) != 2 || code[0] < 0xA1 || code[1] < 0xA1 { // else an extension of Microsoft's
		return dst, false
	}
	return append(dst, code...), true
}

func decodeHanzi(a, b byte) rune { return decodeOne(simplifiedchinese.GBK, a, b) }

func encodeHanzi(dst []byte, r rune) ([]byte, bool) {
	code := encodeOne(simplifiedchinese.GBK, r)
	if len(code) != 2 || code[1] < 0xA1 || !inGB2312(uint16(code[0])<<8|uint16(code[1])) {
		return dst, false
	}
	return append(dst, code...), true
}

// inGB2312 tells whether a code of GBK, both bytes at least A1, is one of GB 2312
// as well. GBK filled some gaps.
func inGB2312(code uint16) bool {
	switch {
	case code < 0xA1A1 || code > 0xF7FE, code > 0xA9FE && code < 0xB0A1:
		return false
	case code >= 0xA2A1 && code <= 0xA2AA, code >= 0xA6E0 && code <= 0xA6F5, code >= 0xA8BB && code <= 0xA8C0:
		return false
	}
	return true
}

func decodeOne(e encoding.Encoding, code ...byte) rune {
	text, err := e.NewDecoder().Bytes(code)
	if err != nil {
		return utf8.RuneError
	}
	r, size := utf8.DecodeRune(text)
	if size != len(text) {
		return utf8.RuneError
	}
	return r
}

// encodeOne returns the code of a character, nil if it has none.
func encodeOne(e encoding.Encoding, r rune) []byte {
	if r == utf8.RuneError {
		return nil
	}
	code, err := e.NewEncoder().Bytes(utf8.AppendRune(nil, r))
	if err != nil {
		return nil
	}
	return code
}
