package cloud

// Code is a return code (CODE 返回码说明). 5.2.1.2 lists N0000, E0001 and E0002, 8.2.2.2 N0000, E0000 and E9000; 203 has no
// list of its own.
type Code string

// The codes.
const (
	CodeOK            Code = "N0000"
	CodeFailed        Code = "E0000"
	CodeBadParameters Code = "E0001"
	CodeBadSignature  Code = "E0002"

	codeOKAsPrinted     Code = "N000"  // in the sample of 301
	codeBadSignature501 Code = "E9000" // of interfaces 501 and 502
)

// OK tells whether the code says success, in either spelling.
func (c Code) OK() bool { return c == CodeOK || c == codeOKAsPrinted }

// BadSignature tells whether the code says that the signature is wrong, by whichever table.
func (c Code) BadSignature() bool { return c == CodeBadSignature || c == codeBadSignature501 }

// Meaning is the code's text in the standard, "" of others.
func (c Code) Meaning() string {
	switch {
	case c.OK():
		return "成功"
	case c.BadSignature():
		return "签名不正确"
	case c == CodeBadParameters:
		return "参数缺失或不正确"
	case c == CodeFailed:
		return "失败"
	}
	return ""
}
