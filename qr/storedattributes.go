package qr

import "dcmgate/dicom"

// storedAttributes are keys that the index does not hold, by the keywords of PS3.6: the optional keys of PS3.4 tables C.6-1
// to C.6-4 among them, and those of "all other attributes" that people ask for. They are read from the stored data set of
// the instance that stands for a patient, study or series.
var storedAttributes = map[Level][]string{
	LevelPatient: {
		"ReferencedPatientSequence", "OtherPatientIDsSequence", "IssuerOfPatientIDQualifiersSequence", "TypeOfPatientID",
		"OtherPatientNames", "EthnicGroup", "PatientComments",
	},
	LevelStudy: {
		"ProcedureCodeSequence", "ReferencedStudySequence", "IssuerOfAccessionNumberSequence", "RequestedProcedureCodeSequence",
		"ReasonForPerformedProcedureCodeSequence", "AdmittingDiagnosesCodeSequence", "AdmittingDiagnosesDescription",
		"ConsultingPhysicianName", "RequestingPhysician", "RequestingService", "AdmissionID", "OtherStudyNumbers",
		"PatientSize", "Occupation", "AdditionalPatientHistory", "MedicalAlerts", "Allergies", "PregnancyStatus",
	},
	LevelSeries: {
		"RequestAttributesSequence", "ReferencedPerformedProcedureStepSequence", "PerformedProtocolCodeSequence",
		"AnatomicRegionSequence", "RelatedSeriesSequence", "PerformedProcedureStepDescription", "PatientPosition",
		"FrameOfReferenceUID", "DeviceSerialNumber", "SoftwareVersions",
	},
	LevelImage: {
		"ConceptNameCodeSequence", "ContentTemplateSequence", "SpecimenDescriptionSequence", "ContainerIdentifier",
		"RelatedGeneralSOPClassUID", "ReferencedSeriesSequence", "ReferencedImageSequence", "SourceImageSequence",
		"CurrentRequestedProcedureEvidenceSequence", "PrimaryAnatomicStructureSequence", "ViewCodeSequence", "ImageType",
		"ImageComments", "SliceThickness", "SliceLocation", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing",
		"KVP", "ViewPosition", "ContrastBolusAgent", "ContentLabel", "ContentDescription", "ContentCreatorName",
		"PresentationCreationDate", "PresentationCreationTime", "CompletionFlag", "VerificationFlag", "WindowCenter", "WindowWidth",
	},
}

// withStored adds storedAttributes to what is supported.
func withStored(supported map[dicom.Tag]support) map[dicom.Tag]support {
	for level, keywords := range storedAttributes {
		for _, keyword := range keywords {
			if tag, ok := dicom.TagByKeyword(keyword); ok {
				supported[tag] = support{level: level, stored: true}
			}
		}
	}
	return supported
}
