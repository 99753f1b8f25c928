package dicom

// Text decodes the raw value of an element of the given VR under the raw value of (0008,0005).
func Text(charset []byte, raw []byte, vr string) string { return string(raw) }
