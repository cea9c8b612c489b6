"""What `rnnserve load --help` says beside its options."""

__all__ = ["EXPLANATION"]

EXPLANATION = """\
Requests are sent at a rate, whether or not the server keeps up, as independent users would send them (an open loop).
Latency is measured from the moment at which a request was due, so a server that stalls is charged for every request
that it delays. --closed N keeps N requests in flight instead, which shows the server's capacity, not the latency that
users see.

--sessions N steps through N sequences: each session sends the next point --think after the answer to the last one, and
continues from its final states (carried: h_n is sent as h_0). A step is due a think time after the last answer, and
its latency is counted from then. Jitter is given as the standard deviation of the latency, as its p99 less its p50, and
as the send lag, which is how much later than it was due a step was sent. After --steps a session begins anew with the
same points, whose answers must be those of the first time.

--slo p99=5ms says held, not held or undecided, for each load, by the binomial test of MLPerf LoadGen: at 99%
confidence, a p99 is held if none of 459 requests is slower, or one of 662. A verdict is wrong with a probability of
1% at most, if requests are independent; where slow requests came in bunches, as after a stall, a bunch counts about
as one. A failed request means not held. What may be due to the generator, which sent late or was busy, is undecided.
A load ends before --duration as soon as it is decided (then 469 and 674 requests are needed at its end, since it was
tested more often), unless --no-early-stop or --runs is given.

--runs N runs every load N times, and gives the mean of each figure with its interval. --json writes all results with
the whole workload: --repeat FILE sends it again, to any server, and --compare A B says which differences between two
such files are more than noise.

--scenario names the loads of MLPerf LoadGen: single-stream (the next request follows the answer to the last one;
p90), multi-stream (the same with 8 rows; p99), server (Poisson arrivals; the highest rate that meets --slo) and
offline (64 requests of 32 rows in flight; rows/s). --batch gives other numbers of rows.

Lengths, batch sizes and models come in equal counts, or as their weights say, and each of the --pool different
requests is sent once before any is sent again, so that runs compare.

Lengths and batch sizes are one number (16), a range (1:64), or numbers with weights (4=3,64=1: three of four are 4).

What is sent and checked:
  Classifiers of directions get walks whose direction is known, and every label is checked.
  Other models get inputs drawn from their description: integers within their bounds, floats within theirs or normal,
  rows of --length steps, or of one length in a request where rows cannot be padded. The first answer to each request
  is kept as the golden one, and every later answer to the same request must be equal to it: bit for bit where the
  server says that the model is batch_invariant, else floats within 0.001 (0.001 of the largest value if that is above
  1). So wrong answers show that depend on traffic, not those that are always the same.
  --inputs FILE.npz sends your own rows to one model. Each array has all axes of an input, with the batch, and the
  input's name; CASE/NAME makes several cases. A request takes --batch rows of a case that follow one another, or all of
  them for a model that is served alone. Arrays with the names of outputs (or output:NAME) are the golden answers, to
  which every answer must be near, within 0.001 as above. The golden.npz of a published version is such a file.

examples:
  rnnserve load                                      every model at 127.0.0.1:8001, 100 requests/s for 10 s
  rnnserve load direction_simple --rate 500,1000,2000 --html load.html
  rnnserve load direction_simple=3 direction_stacked=1 --length 1:64 --batch 1=9,8=1
  rnnserve load --sweep 500:4000:500 --slo p99=5ms   which of these rates meet the objective?
  rnnserve load --slo p50=1ms,p99=5ms                the highest rate that meets it; rnnserve size goes on from there
  rnnserve load --rate 500 --arrivals gamma          bursts and pauses instead of independent users
  rnnserve load --scenario single-stream
  rnnserve load --rate 500 --runs 5 --json a.json    with intervals
  rnnserve load --repeat a.json --json b.json        the same load again
  rnnserve load --compare a.json b.json              what differs by more than noise?
  rnnserve load --serve repository --closed 64       starts and stops the server, too
  rnnserve load sentiment --inputs samples.npz --batch 1:8
  rnnserve load policy --sessions 1 --think 10ms     a control loop: latency and jitter of one step at a time
"""
