"""The page, the chart and the files of a comparison of two exports."""
