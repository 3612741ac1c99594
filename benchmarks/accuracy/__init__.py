"""The record: real training curves of real tasks, and how far each method's predictions are from them."""
