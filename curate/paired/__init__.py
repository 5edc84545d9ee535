"""Paired whole-body studies: PET with CT or MR of one patient, with organ masks, in eight layouts.

layouts.py finds the studies of a download by file names, dicomstudies.py by DICOM headers; tables.py reads label
tables and crosswalks; organs.py and images.py read masks and images onto one grid; converter.py makes samples.
"""
