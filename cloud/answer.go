package cloud

import (
	"encoding/json"
	"io"
)

// Answer is the envelope of 203's answer. Its description is missing (5.3.3); it is that of the other interfaces.
type Answer struct {
	Code    Code    `json:"code"`
	Message string  `json:"message"`
	Result  []Image `json:"result"`
}

// Refusal is an answer without images. detail, if any, follows the code's meaning.
func Refusal(code Code, detail string) Answer {
	a := Answer{Code: code, Message: code.Meaning(), Result: []Image{}}
	if detail != "" {
		a.Message += ": " + detail
	}
	return a
}

// AnswerWriter writes an answer of success image by image, so that memory does not depend on how many there are.
type AnswerWriter struct {
	w     io.Writer
	begun bool
}

// NewAnswerWriter writes to w. Nothing is written before the first image or End.
func NewAnswerWriter(w io.Writer) *AnswerWriter { return &AnswerWriter{w: w} }

// Add writes an image.
func (a *AnswerWriter) Add(i *Image) error {
	b, err := json.Marshal(i)
	if err != nil {
		return err
	}
	before := ","
	if !a.begun {
		before = a.begin()
	}
	_, err = io.WriteString(a.w, before+string(b))
	return err
}

// End completes the answer. Without it the text is no JSON document, so that nobody takes a part for the whole.
func (a *AnswerWriter) End() error {
	end := "]}\n"
	if !a.begun {
		end = a.begin() + end
	}
	_, err := io.WriteString(a.w, end)
	return err
}

func (a *AnswerWriter) begin() string {
	a.begun = true
	return `{"code":"` + string(CodeOK) + `","message":"` + CodeOK.Meaning() + `","result":[`
}
