"""Whole bodies for the phantoms of paired studies: thirteen organs in PET and CT or MR, in eight layouts.

anatomy.py draws a body, dicom.py writes one as DICOM, layouts.py writes all.
"""
