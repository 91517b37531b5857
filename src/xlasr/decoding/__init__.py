"""From a model's output to text and times.

Reading order:

* ``hypothesis.py``  what every decoder returns; the loop guard; what a beam asks of a language
  model
* ``ctc.py``         best path, and prefix beam search with a language model (numpy)
* ``transducer.py`` greedy, and a beam that writes one or more symbols a frame
* ``ngram.py``       the language model: interpolated modified Kneser-Ney over token ids
* ``steps.py``       a Whisper decoder one token at a time, cached
* ``seq2seq.py``     greedy decoding with it
* ``beam.py``        beam search with it
* ``fusion.py``      a language model from a run's training text, kept in the run
* ``recognise.py``   clips to text with any model: what training, evaluation and serving call
* ``transcribe.py``  a whole file: cut, recognised in batches, timed; ``data/annotations`` writes

No decoder knows a vocabulary: prompt, end token, blank and allowed tokens are arguments.
"""
