"""Talking with a language model at an OpenAI-compatible address: what is asked, what it costs, what is answered."""
