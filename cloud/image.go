package cloud

import (
	"encoding/json"
	"strings"
)

// Image is one image in the answer of 203: the fields of 5.3.3 with their names and in their order.
type Image struct {
	HospitalCode      string `json:"hospitalCode"`      // 医院编号, at most 22 characters
	HospitalName      string `json:"hospitalName"`      // 医院名称（注意区分院区）, at most 70 characters
	SeriesNumber      string `json:"seriesNumber"`      // 影像序列号, at most 64 characters
	PatNo             string `json:"PatNo"`             // 患者编号, at most 64 characters; printed "PatientID PatNo", the old and the new name
	SeriesInstanceUID string `json:"seriesInstanceUID"` // 影像序列号, at most 64 characters
	StudyInstanceUID  string `json:"studyInstanceUID"`  // 检查实例唯一号, at most 64 characters
	DownloadURL       string `json:"dcmDownloadUrl"`    // Dcm下载地址, at most 512 characters
	AccessionNumber   string `json:"AccessionNumber"`   // 检查编号, at most 64 characters
	Modality          string `json:"Modality"`          // 设备类型, code table 8, at most 8 characters
	SOPInstanceUID    string `json:"sopinstanceUID"`    // 影像实例UID, at most 64 characters
	SOPClassUID       string `json:"sopclassUID"`       // ClassUID, at most 64 characters
}

// MaxDownloadURL is the length of dcmDownloadUrl that every reader takes, in characters (5.3.3).
const MaxDownloadURL = 512

// field finds a field by its name, without regard to case as readers of the standard's interfaces must be; nil if it is none.
func (i *Image) field(name string) *string {
	switch strings.ToLower(name) {
	case "hospitalcode":
		return &i.HospitalCode
	case "hospitalname":
		return &i.HospitalName
	case "seriesnumber":
		return &i.SeriesNumber
	case "patno", "patientid":
		return &i.PatNo
	case "seriesinstanceuid":
		return &i.SeriesInstanceUID
	case "studyinstanceuid":
		return &i.StudyInstanceUID
	case "dcmdownloadurl":
		return &i.DownloadURL
	case "accessionnumber":
		return &i.AccessionNumber
	case "modality":
		return &i.Modality
	case "sopinstanceuid":
		return &i.SOPInstanceUID
	case "sopclassuid":
		return &i.SOPClassUID
	}
	return nil
}

// UnmarshalJSON reads an image as platforms may write it: names in any case, numbers without quotes, the old name of PatNo,
// members that are not of the standard.
func (i *Image) UnmarshalJSON(b []byte) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(b, &members); err != nil {
		return err
	}
	for name, raw := range members {
		field := i.field(name)
		if field == nil || strings.EqualFold(name, "PatientID") && *field != "" {
			continue
		}
		if text := textOf(raw); text != "" {
			*field = text
		}
	}
	return nil
}

// textOf is the text of a string or of a number, "" of anything else.
func textOf(raw json.RawMessage) (text string) {
	if len(raw) == 0 || json.Unmarshal(raw, &text) == nil {
		return text // "" of null
	}
	if c := raw[0]; c == '-' || c >= '0' && c <= '9' {
		return string(raw)
	}
	return ""
}
