package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// plainText checks that a configuration file is UTF-8 and returns it without
// the byte order mark that some editors put first. A file in another encoding
// would be taken otherwise, with names that nobody wrote.
func plainText(file string, data []byte) ([]byte, error) {
	fail := func(line, column int, format string, args ...any) error {
		return &ConfigError{File: file, Line: line, Column: column, Message: fmt.Sprintf(format, args...)}
	}
	if bytes.HasPrefix(data, []byte{0xFF, 0xFE}) || bytes.HasPrefix(data, []byte{0xFE, 0xFF}) {
		return nil, fail(1, 1, "the file is in UTF-16; save it as UTF-8, or convert it: iconv -f UTF-16 -t UTF-8")
	}
	data = bytes.TrimPrefix(data, []byte("\uFEFF"))
	number := 0
	for line := range bytes.Lines(data) {
		number++
		if utf8.Valid(line) {
			continue
		}
		column := 1
		for rest := line; ; column++ {
			r, size := utf8.DecodeRune(rest)
			if r == utf8.RuneError && size == 1 {
				break
			}
			rest = rest[size:]
		}
		return nil, fail(number, column, "this is not UTF-8, but GBK or another encoding; save the file as UTF-8, or convert it: iconv -f GB18030 -t UTF-8")
	}
	return data, nil
}

// lookalikes are characters that Chinese input methods and word processors
// write in place of those of YAML. The full-width forms of ASCII (U+FF01 to
// U+FF5E) are not listed.
var lookalikes = map[rune]string{
	'\u3000': "a space", '\u00A0': "a space", '\u200B': "nothing", '\uFEFF': "nothing",
	'“': `"`, '”': `"`, '‘': "'", '’': "'", '、': ",", '。': ".",
	'【': "[", '】': "]", '—': "-", '–': "-",
}

// lookalike returns what r stands in place of, "" if nothing is wrong with it.
func lookalike(r rune) string {
	if r >= '\uFF01' && r <= '\uFF5E' {
		return string(r - '\uFF01' + '!')
	}
	return lookalikes[r]
}

// advise adds to mistakes what is wrong with the typing of their line. If
// that is nothing, a line that begins wrongly may be why one above it is
// understood otherwise.
func advise(data []byte, errs []error) {
	text := strings.TrimPrefix(string(data), "\uFEFF")
	lines := strings.Split(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text), "\n")
	for _, err := range errs {
		var e *ConfigError
		if !errors.As(err, &e) || e.Line < 1 || e.Line > len(lines) {
			continue
		}
		found, at := typing(lines[e.Line-1]), ""
		for i := e.Line; found == "" && i < len(lines); i++ {
			if first, _ := utf8.DecodeRuneInString(strings.TrimLeft(lines[i], " ")); lookalike(first) != "" {
				found, at = typing(lines[i]), fmt.Sprintf("line %d, ", i+1)
			}
		}
		if found != "" {
			e.Message += "; in " + at + found
		}
	}
}

// typing tells of the first character in a line, comment left out, that is
// easily mistaken for another one.
func typing(line string) string {
	line, _, _ = strings.Cut(line, " #")
	column := 0
	for _, r := range line {
		column++
		if meant := lookalike(r); meant != "" {
			return fmt.Sprintf("column %d is %q (%U), as Chinese input methods write it, in place of %s", column, r, r, meant)
		}
	}
	return ""
}

// syntaxAdvice has the YAML library's messages, which are in the words of its
// parser, and what to tell somebody who writes a file.
var syntaxAdvice = []struct {
	message *regexp.Regexp
	words   string
}{
	{regexp.MustCompile("^found character '\t'"), "a tab in the indentation; indent with spaces"},
	{regexp.MustCompile(`^mapping key "(.*)" already defined at \[(\d+):\d+\]$`), "$1 is here for the second time, it is in line $2 already; keep one of them"},
	{regexp.MustCompile(`^unexpected key name$|^non-map value is specified$`), "no key and value; write KEY: VALUE, with a space after the colon"},
	{regexp.MustCompile(`^value is not allowed in this context\. map key-value`), "there is more behind the end of the value; put all of it into one pair of quotation marks"},
	{regexp.MustCompile(`^value is not allowed in this context`), "the indentation fits nothing above; begin the keys of one mapping in the same column"},
	{regexp.MustCompile(`^mapping value is not allowed in this context`), "a key where none can be; check the indentation here and in the lines beside, and put values that hold a colon and a space in quotation marks"},
	{regexp.MustCompile(`^',' or ']' must be specified`), "the list that begins with [ is not closed before this; write ]"},
	{regexp.MustCompile(`^',' or '}' must be specified`), "what begins with { is not closed before this; write }"},
	{regexp.MustCompile(`^('.') is a reserved character`), "a value that begins with $1 needs quotation marks"},
	{regexp.MustCompile(`^could not find end character of (double|single)-quoted text`), "the quotation mark is not closed"},
}

// syntaxMessage words a message of the YAML library.
func syntaxMessage(message string) string {
	for _, a := range syntaxAdvice {
		if m := a.message.FindStringSubmatchIndex(message); m != nil {
			return string(a.message.ExpandString(nil, a.words, message, m))
		}
	}
	return message + "; compare with `dcmgate config example`"
}
