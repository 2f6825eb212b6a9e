"""Numbers and fixes over training: softmax collapse, grokking, benign overfitting."""
