"""Figures, report page and model card of one evaluation."""
