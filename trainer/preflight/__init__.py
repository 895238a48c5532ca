"""Will it run on that TPU, will it fit, what will it cost: answered by the real compiler, without a TPU."""
