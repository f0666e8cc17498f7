"""Texts for the benchmarks: English-like words, several thousand of them, as often as words are in a language (Zipf)."""
import bisect
import itertools
import random

ONSET = "b c d f g h j k l m n p r s t v w br ch cl cr dr fl fr gl gr pl pr sc sh sk sl sm sn sp st str sw th tr wh".split()
VOWEL = "a e i o u ai ea ee ie oa oo ou".split()
CODA = "b ck d f g l ll m n nd ng nt p r rd rk rm rn rt s sh ss st t th".split() + [""] * 6
COMMON = ("the of and to a in is that it was for on are as with they be at one have this from by hot but some what there we can out "
          "other were all your when up use how said an each she which do their time if will way about many then them would like so these "
          "her long make thing see him two has look more day could go come did my sound no most number who over know water than call first "
          "people may down side been now find any new work part take get place made live where after back little only round man year came "
          "show every good me give our under name very through just form much great think say help low line before turn cause same mean "
          "move right boy old too does tell sentence set three want air well also play small end put home read hand port large spell add "
          "even land here must big high such follow act why ask men change went light kind off need house picture try again animal point "
          "mother world near build self earth father").split()


class Words:
    def __init__(self, seed=1, vocabulary=8000, exponent=1.05):
        self.rng = random.Random(seed)
        made, seen = list(COMMON), set(COMMON)
        while len(made) < vocabulary:
            w = "".join(self.rng.choice(ONSET) + self.rng.choice(VOWEL) + self.rng.choice(CODA)
                        for _ in range(self.rng.choice((1, 2, 2, 2, 3))))
            if w not in seen and len(w) > 2:
                seen.add(w)
                made.append(w)
        self.words = made
        self.cum = list(itertools.accumulate(1 / (i + 2.7) ** exponent for i in range(len(made))))

    def word(self):
        return self.words[bisect.bisect(self.cum, self.rng.random() * self.cum[-1])]

    def text(self, size):
        """Words and full stops, exactly `size` characters."""
        out, n = [], 0
        while n < size + 20:
            w = self.word()
            out.append(w)
            n += len(w) + 1
        return " ".join(out)[:size].rstrip().ljust(size, ".")

    def question(self, words=5):
        """Words as a question has them: some common, some telling."""
        return " ".join(self.words[min(len(self.words) - 1, int(self.rng.paretovariate(0.6) * 12))] for _ in range(words))
