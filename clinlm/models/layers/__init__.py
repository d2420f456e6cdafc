"""Integer and low-rank layers that replace float layers."""
