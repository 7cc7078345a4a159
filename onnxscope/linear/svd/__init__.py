"""The leading singular triplets of F, found by passes of vectors through F and its transpose."""
