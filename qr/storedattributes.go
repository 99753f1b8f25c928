package qr

import "dcmgate/dicom"

// storedAttributes are keys that the index does not hold, by the keywords of PS3.6: the optional keys of PS3.4 tables C.6-1
// to C.6-5 among them, and of "all other attributes" those of the level's modules in PS3.3 that people ask for. They are read from the stored data set of
// the instance that stands for a patient, study or series.
var storedAttributes = map[Level][]string{
	LevelPatient: {
		"ReferencedPatientSequence", "OtherPatientIDsSequence", "IssuerOfPatientIDQualifiersSequence", "TypeOfPatientID",
		"OtherPatientNames", "EthnicGroup", "EthnicGroups", "EthnicGroupCodeSequence", "PatientComments", "PatientBirthName",
		"PatientMotherBirthName", "PatientAddress", "PatientTelephoneNumbers", "CountryOfResidence", "RegionOfResidence",
		"PatientReligiousPreference", "QualityControlSubject", "PatientSpeciesDescription", "PatientSpeciesCodeSequence",
		"PatientBreedDescription", "PatientBreedCodeSequence", "BreedRegistrationSequence", "ResponsiblePerson",
		"ResponsiblePersonRole", "ResponsibleOrganization", "PatientIdentityRemoved", "DeidentificationMethod",
		"DeidentificationMethodCodeSequence", "ClinicalTrialSponsorName", "ClinicalTrialProtocolID", "ClinicalTrialProtocolName",
		"ClinicalTrialSiteID", "ClinicalTrialSiteName", "ClinicalTrialSubjectID", "ClinicalTrialSubjectReadingID",
	},
	LevelStudy: {
		"ProcedureCodeSequence", "ReferencedStudySequence", "IssuerOfAccessionNumberSequence", "RequestedProcedureCodeSequence",
		"ReasonForPerformedProcedureCodeSequence", "AdmittingDiagnosesCodeSequence", "AdmittingDiagnosesDescription",
		"ConsultingPhysicianName", "RequestingPhysician", "RequestingService", "AdmissionID", "OtherStudyNumbers",
		"PatientSize", "Occupation", "AdditionalPatientHistory", "MedicalAlerts", "Allergies", "PregnancyStatus",
		"ReferringPhysicianIdentificationSequence", "ConsultingPhysicianIdentificationSequence", "PhysiciansOfRecord",
		"PhysiciansOfRecordIdentificationSequence", "PhysiciansReadingStudyIdentificationSequence",
		"RequestingPhysicianIdentificationSequence", "RequestingServiceCodeSequence", "ServiceEpisodeID",
		"ServiceEpisodeDescription", "IssuerOfServiceEpisodeIDSequence", "IssuerOfAdmissionIDSequence", "PatientSizeCodeSequence",
		"PatientBodyMassIndex", "SmokingStatus", "LastMenstrualDate", "PatientState", "PatientSexNeutered", "ReasonForVisit",
		"ReasonForVisitCodeSequence", "ClinicalTrialTimePointID", "ClinicalTrialTimePointDescription",
	},
	LevelSeries: {
		"RequestAttributesSequence", "ReferencedPerformedProcedureStepSequence", "PerformedProtocolCodeSequence",
		"AnatomicRegionSequence", "RelatedSeriesSequence", "PerformedProcedureStepDescription", "PatientPosition",
		"FrameOfReferenceUID", "DeviceSerialNumber", "SoftwareVersions",
		"PerformingPhysicianIdentificationSequence", "OperatorIdentificationSequence", "SeriesDescriptionCodeSequence",
		"PerformedProcedureStepEndDate", "PerformedProcedureStepEndTime", "CommentsOnThePerformedProcedureStep",
		"PositionReferenceIndicator", "TreatmentSessionUID", "ClinicalTrialSeriesID", "ClinicalTrialSeriesDescription", "GantryID",
		"DeviceUID",
	},
	LevelImage: {
		"ConceptNameCodeSequence", "ContentTemplateSequence", "SpecimenDescriptionSequence", "ContainerIdentifier",
		"RelatedGeneralSOPClassUID", "ReferencedSeriesSequence", "ReferencedImageSequence", "SourceImageSequence",
		"CurrentRequestedProcedureEvidenceSequence", "PrimaryAnatomicStructureSequence", "ViewCodeSequence", "ImageType",
		"ImageComments", "SliceThickness", "SliceLocation", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing",
		"KVP", "ViewPosition", "ContrastBolusAgent", "ContentLabel", "ContentDescription", "ContentCreatorName",
		"PresentationCreationDate", "PresentationCreationTime", "CompletionFlag", "VerificationFlag", "WindowCenter", "WindowWidth",
		"ContainerTypeCodeSequence", "IssuerOfTheContainerIdentifierSequence", "AlternateContainerIdentifierSequence",
		"ContainerDescription", "AcquisitionUID", "ReferencedRequestSequence", "VerifyingObserverSequence",
		"PredecessorDocumentsSequence", "PerformedProcedureCodeSequence", "DocumentTitle", "MIMETypeOfEncapsulatedDocument",
		"PatientOrientation", "ImageLaterality", "BurnedInAnnotation", "QualityControlImage", "DerivationDescription",
		"DerivationCodeSequence", "LossyImageCompressionRatio", "LossyImageCompressionMethod", "ConvolutionKernel", "ExposureTime",
		"XRayTubeCurrent", "ScanningSequence", "SequenceVariant", "RepetitionTime", "EchoTime", "EchoNumbers", "FlipAngle",
		"SpacingBetweenSlices", "TemporalPositionIdentifier", "TriggerTime",
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
