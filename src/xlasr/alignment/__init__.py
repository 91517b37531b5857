"""Text and sound brought together: when was what said, and what does not match?

Reading order:

* ``viterbi.py``     the best path through a CTC lattice, exact and in bounded memory
* ``ctc.py``         forced alignment with it: frames and score of every symbol
* ``text.py``        units (lines, words) and symbols of a text
* ``posteriors.py``  a model's log-probabilities over a recording of any length
* ``words.py``       word times and confidences
* ``cuts.py``        where words that were found are cut: sentence ends, pauses, never too long
* ``segment.py``     a long recording cut by its transcript; what does not match
* ``suspects.py``    utterances ranked by how badly text and sound agree

A CTC model aligns; a text from any model or person is aligned by it.
"""
