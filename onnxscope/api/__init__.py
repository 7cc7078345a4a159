"""What Python users call: functions that open models, and the objects that answer questions."""
