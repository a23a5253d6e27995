"""Confidence in answers, and the people who are asked where it is low: calibration, conformal sets, a review queue."""
