package dicom

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

// The examples of PS3.5 annexes H to K, byte by byte, and of PS3.3 C.12.1.1.2.
func TestTextOfTheStandard(t *testing.T) {
	for _, test := range []struct {
		name, charset, vr, bytes, text string
	}{
		{"H.3.1", `\ISO 2022 IR 87`, "PN",
			"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
			"Yamada^Tarou=山田^太郎=やまだ^たろう"},
		{"H.3.2", `ISO 2022 IR 13\ISO 2022 IR 87`, "PN",
			"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J",
			"ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"},
		{"I.2", `\ISO 2022 IR 149`, "PN",
			"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
			"Hong^Gildong=洪^吉洞=홍^길동"},
		{"J, name in UTF-8", "ISO_IR 192", "PN",
			"Wang^XiaoDong=\xe7\x8e\x8b^\xe5\xb0\x8f\xe6\x9d\xb1", "Wang^XiaoDong=王^小東"},
		{"J, text in UTF-8", "ISO_IR 192", "LT",
			"The first line includes \xe4\xb8\xad\xe6\x96\x87.\r\n", "The first line includes 中文.\r\n"},
		{"J, name in GB18030", "GB18030", "PN",
			"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab", "Wang^XiaoDong=王^小东"},
		{"J, text in GB18030", "GB18030", "LT",
			"The first line includes \xd6\xd0\xce\xc4.\r\nThe second", "The first line includes 中文.\r\nThe second"},
		{"J, name in GBK", "GBK", "PN",
			"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab", "Wang^XiaoDong=王^小东"},
		{"K, name", `\ISO 2022 IR 58`, "PN",
			"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab", "Zhang^XiaoDong=张^小东"},
		{"K, text", `\ISO 2022 IR 58`, "LT",
			"The first line.\r\n\x1b$)A\xb5\xda\xb6\xfe\xd0\xd0\xd6\xd0\xce\xc4\r\nEnd", "The first line.\r\n第二行中文\r\nEnd"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := Text([]byte(test.charset), []byte(test.bytes), test.vr); got != test.text {
				t.Errorf("Text = %q, want %q", got, test.text)
			}
			if got, err := EncodeText(test.charset, test.text); err != nil || string(got) != test.bytes {
				t.Errorf("EncodeText = %q, %v, want %q", got, err, test.bytes)
			}
		})
	}
}

func TestText(t *testing.T) {
	for _, test := range []struct {
		name, charset, vr, bytes, text string
	}{
		{"no character set", "", "PN", "Smith^John ", "Smith^John"},
		{"default repertoire", "ISO_IR 6", "LO", "a\xe4b", "a\uFFFDb"},
		{"unlabelled UTF-8", "", "LO", "\xe4\xb8\xad", "中"},
		{"latin 1", "ISO_IR 100", "PN", "Buc^J\xe9r\xf4me", "Buc^Jérôme"},
		{"latin 2", "ISO_IR 101", "PN", "Wa\xb3\xeasa", "Wałęsa"},
		{"latin 3", "ISO_IR 109", "LO", "\xd8", "Ĝ"},
		{"latin 4", "ISO_IR 110", "LO", "\xe0", "ā"},
		{"latin 5", "ISO_IR 148", "LO", "\xd0\xdd", "Ğİ"},
		{"latin 9", "ISO_IR 203", "LO", "\xa4", "€"},
		{"cyrillic", "ISO_IR 144", "PN", "\xbb\xee\xda\x63\x65\xdc\xd1yp\xd3", "Люкceмбypг"},
		{"arabic", "ISO_IR 127", "PN", "\xe2\xc8\xc7\xe6\xea^\xe4\xe6\xd2\xc7\xd1", "قباني^لنزار"},
		{"greek", "ISO_IR 126", "PN", "\xc4\xe9\xef\xed\xf5\xf3\xe9\xef\xf2", "Διονυσιος"},
		{"hebrew", "ISO_IR 138", "PN", "\xf9\xf8\xe5\xef^\xe3\xe1\xe5\xf8\xe4", "שרון^דבורה"},
		{"thai", "ISO_IR 166", "LO", "\xca\xc7\xd1\xca\xb4\xd5\xdc", "สวัสดี\uFFFD"},
		{"thai with code extensions", `\ISO 2022 IR 166`, "LO", "a\x1b-T\xca\xc7", "aสว"},
		{"kanji and a supplement", `\ISO 2022 IR 87\ISO 2022 IR 159`, "LO", "\x1b$B;3\x1b$(D0!\x1b(B.", "山丂."},
		{"kanji of 1978", `\ISO 2022 IR 87`, "LO", "\x1b$@;3\x1b(B", "山"},
		{"romaji", "ISO_IR 13", "LT", `a\b~`, "a¥b‾"},
		{"romaji, several values", "ISO_IR 13", "LO", `a\b`, `a\b`},
		{"shift JIS by the name of JIS X 0201", "ISO_IR 13", "PN", "\x8e\x52\x93\x63^\x91\xbe\x98\x59", "山田^太郎"},
		{"shift JIS with a backslash in it", "ISO_IR 13", "PN", "\x95\x5c", "表"},
		{"two sets, delimiters reset", `ISO 2022 IR 100\ISO 2022 IR 144`, "PN", "\xc4neas\x1b-L\xbb\xee^R\xfcd", "ÄneasЛю^Rüd"},
		{"delimiters of names do not reset in other VRs", `ISO 2022 IR 100\ISO 2022 IR 144`, "LO", "\x1b-L\xbb^\xee", "Л^ю"},
		{"values reset", `ISO 2022 IR 100\ISO 2022 IR 144`, "LO", "\x1b-L\xbb\\\xee", `Л\î`},
		{"a backslash in a text does not", `ISO 2022 IR 100\ISO 2022 IR 144`, "LT", "\x1b-L\xbb\\\xee", `Л\ю`},
		{"control characters reset", `ISO 2022 IR 100\ISO 2022 IR 144`, "LT", "\x1b-L\xbb\t\xee\r\n\xee\f\xee", "Л\tî\r\nî\fî"},
		{"escape sequence left out", `\ISO 2022 IR 149`, "PN", "\xc8\xab^\xb1\xe6\xb5\xbf", "홍^길동"},
		{"code extensions with one value", "ISO 2022 IR 149", "PN", "\xc8\xab", "홍"},
		{"unknown escape sequence", `\ISO 2022 IR 87`, "LO", "\x1b%Ga", "\uFFFD%Ga"},
		{"escape at the end", `\ISO 2022 IR 87`, "LO", "a\x1b", "a\uFFFD"},
		{"half an escape sequence", `\ISO 2022 IR 87`, "LO", "a\x1b$", "a\uFFFD$"},
		{"half a character", `\ISO 2022 IR 149`, "LO", "\x1b$)C\xc8", "\uFFFD"},
		{"half a kanji", `\ISO 2022 IR 87`, "LO", "\x1b$B;", "\uFFFD"},
		{"kanji that is not there", `\ISO 2022 IR 87`, "LO", "\x1b$B//\x1b(Bx", "\uFFFDx"},
		{"space among kanji", `\ISO 2022 IR 87`, "LO", "\x1b$B;3 ED\x1b(B", "山 田"},
		{"GBK with a backslash in it", "GBK", "LO", "\x81\x5c\\a", `乗\a`},
		{"GBK with a caret in it", "GBK", "PN", "\x81\x5e^a", "乛^a"},
		{"GB18030, four bytes", "GB18030", "LO", "\x81\x30\x81\x30", "\u0080"},
		{"GB18030, broken", "GB18030", "LO", "a\xff", "a\uFFFD"},
		{"UTF-8, broken", "ISO_IR 192", "LO", "a\xe4\xb8", "a\uFFFD"},
		{"spellings", "iso-ir-100", "LO", "\xe9", "é"},
		{"spellings of UTF-8", "UTF-8", "LO", "\xc3\xa9", "é"},
		{"code extensions with GBK", `ISO 2022 IR 6\ISO 2022 GBK`, "LO", "\xd6\xd0", "中"},
		{"unknown term", "ISO_IR 999", "LO", "a\xe9", "a\uFFFD"},
		{"padded term", "ISO_IR 100 ", "LO", "\xe9", "é"},
		{"VR with a repertoire of its own", "ISO_IR 100", "CS", "\xe9", "\uFFFD"},
		{"unknown VR", "ISO_IR 100", "", "\xe9", "é"},
		{"padding", "ISO_IR 100", "UI", "1.2\x00", "1.2"},
		{"spaces in front matter", "ISO_IR 100", "LO", "  \xe9  ", "  é"},
		{"empty", "ISO_IR 100", "LO", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := Text([]byte(test.charset), []byte(test.bytes), test.vr); got != test.text {
				t.Errorf("Text = %q, want %q", got, test.text)
			}
		})
	}
}

func TestEncodeText(t *testing.T) {
	for _, test := range []struct {
		name, charset, text, bytes string
		missing                    int
	}{
		{"default repertoire", "", "abc^", "abc^", 0},
		{"not in the default repertoire", "", "é中", "??", 2},
		{"latin 1", "ISO_IR 100", "Jérôme", "J\xe9r\xf4me", 0},
		{"not in latin 1", "ISO_IR 100", "a中b", "a?b", 1},
		{"thai", "ISO_IR 166", "สวัสดี", "\xca\xc7\xd1\xca\xb4\xd5", 0},
		{"katakana", "ISO_IR 13", "ﾔ‾", "\xd4~", 0},
		{"no tilde in JIS X 0201", "ISO_IR 13", "~¥", "??", 2},
		{"the second set", `ISO 2022 IR 100\ISO 2022 IR 144`, "éЛé", "\xe9\x1b-L\xbb\x1b-A\xe9", 0},
		{"designated again behind a delimiter", `ISO 2022 IR 100\ISO 2022 IR 144`, "Л^é^Л", "\x1b-L\xbb^\x1b-A\xe9^\x1b-L\xbb", 0},
		{"kanji and supplement", `\ISO 2022 IR 87\ISO 2022 IR 159`, "山丂", "\x1b$B;3\x1b$(D0!\x1b(B", 0},
		{"GB18030 has everything", "GB18030", "中é\U0001F600", "\xd6\xd0\xa8\xa6\x94\x39\xfc\x36", 0},
		{"GBK has not", "GBK", "中\U0001F600", "\xd6\xd0?", 1},
		{"not in GB 2312", `\ISO 2022 IR 58`, "乗中", "?\x1b$)A\xd6\xd0", 1},
		{"not in KS X 1001", `\ISO 2022 IR 149`, "똠", "?", 1},
		{"not UTF-8", "ISO_IR 192", "a\xffb", "a?b", 1},
		{"not UTF-8 for GBK", "GBK", "a\xffb", "a?b", 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := EncodeText(test.charset, test.text)
			missing := 0
			var e *UnrepresentableError
			if errors.As(err, &e) {
				missing = e.Characters
			}
			if string(got) != test.bytes || missing != test.missing {
				t.Errorf("EncodeText = %q, %v, want %q, %d missing", got, err, test.bytes, test.missing)
			}
			if err != nil && strings.ContainsAny(err.Error(), "é中") {
				t.Errorf("error quotes the text: %v", err)
			}
		})
	}
}

func TestPersonName(t *testing.T) {
	for text, want := range map[string]PersonName{
		"":                        {},
		"Smith^John^^^ ":          {Alphabetic: "Smith^John"},
		"Wang^XiaoDong=王^小东":      {Alphabetic: "Wang^XiaoDong", Ideographic: "王^小东"},
		"=洪^吉洞":                   {Ideographic: "洪^吉洞"},
		"A=B=C^^":                 {"A", "B", "C"},
		"Yamada^Tarou==やまだ^たろう^^": {Alphabetic: "Yamada^Tarou", Phonetic: "やまだ^たろう"},
	} {
		if got := ParsePersonName(text); got != want {
			t.Errorf("ParsePersonName(%q) = %#v, want %#v", text, got, want)
		}
	}
	for want, name := range map[string]PersonName{
		"":     {},
		"A":    {Alphabetic: "A"},
		"A==C": {Alphabetic: "A", Phonetic: "C"},
		"=B":   {Ideographic: "B"},
	} {
		if got := name.String(); got != want {
			t.Errorf("String of %#v = %q, want %q", name, got, want)
		}
	}
}

// FuzzText: whatever comes is decoded to valid text without control of its
// size; and what can be encoded decodes to itself.
func FuzzText(f *testing.F) {
	f.Add([]byte(`\ISO 2022 IR 87`), []byte("\x1b$B;3ED\x1b(B^"), "PN")
	f.Add([]byte(`ISO 2022 IR 100\ISO 2022 IR 144`), []byte("\xc4neas\x1b-L\xbb\xee^R\xfcd"), "LO")
	f.Add([]byte("GB18030"), []byte("\xd6\xd0\x81\x30\x81\x30"), "UC")
	f.Add([]byte("ISO_IR 13"), []byte("\x8e\x52\\~"), "LT")
	f.Add([]byte(`\ISO 2022 IR 149`), []byte("\xc8\xab=\xb1\xe6"), "PN")
	f.Fuzz(func(t *testing.T, charset, raw []byte, vr string) {
		text := Text(charset, raw, vr)
		if !utf8.ValidString(text) || len(text) > 3*len(raw) {
			t.Fatalf("%d bytes become %d, valid %v", len(raw), len(text), utf8.ValidString(text))
		}
		code, err := EncodeText(string(charset), text)
		if v, ok := vrNamed(vr); err != nil || ok && v.fixed || strings.Contains(text, "\u0080") {
			return
		}
		if again := Text(charset, code, vr); again != text {
			t.Errorf("%q becomes %q, that %q", text, code, again)
		}
	})
}

// Who sends Chinese text often does not say in what, or says something else.
func TestTextOfUnlabelledGBK(t *testing.T) {
	for _, test := range []struct {
		name, charset, vr, bytes, text, read string
	}{
		{"no character set", "", "PN", "\xcd\xf5^\xd0\xa1\xb6\xab", "王^小东", "GB18030"},
		{"with a character beyond GB 2312", "ISO_IR 6", "PN", "\xd6\xec^\xe9F\xbb\xf9", "朱^镕基", "GB18030"},
		{"latin 1 has no such codes", "ISO_IR 100", "LO", "\xd6\xd0\x81\x5c", "中乗", "GB18030"},
		{"not UTF-8", "ISO_IR 192", "LO", "\xd6\xd0\xce\xc4", "中文", "GB18030"},
		{"valid in latin 1", "ISO_IR 100", "LO", "\xd6\xd0", "ÖÐ", "ISO_IR 100"},
		{"unlabelled UTF-8", "", "LO", "\xe4\xb8\xad", "中", "ISO_IR 192"},
		{"labelled", "GBK", "LO", "\xd6\xd0", "中", "GBK"},
		{"latin 1 without a label", "", "PN", "M\xfcller", "M\uFFFDller", ""},
		{"odd byte", "", "LO", "\xd6\xd0\xce", "\uFFFD\uFFFD\uFFFD", ""},
		{"code string", "", "CS", "\xd6\xd0", "\uFFFD\uFFFD", ""},
		{"plain", "ISO_IR 100", "LO", "abc", "abc", "ISO_IR 100"},
	} {
		if got := Text([]byte(test.charset), []byte(test.bytes), test.vr); got != test.text {
			t.Errorf("%s: Text = %q, want %q", test.name, got, test.text)
		}
		if got := TextCharset([]byte(test.charset), []byte(test.bytes), test.vr); got != test.read {
			t.Errorf("%s: TextCharset = %q, want %q", test.name, got, test.read)
		}
	}
}
