"""Networks, one file each; every model is called as model(x_t, t, y=None) and says what it predicts."""
