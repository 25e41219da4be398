# ---
# jupyter:
#   jupytext:
#     notebook_metadata_filter: kernelspec,jupytext,-jupytext.text_representation.jupytext_version
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # What does half of the filters cost?
#
# **The paper's claim.** Removing the half of the filters that carry least information and resemble others most costs next to no accuracy: on EDF-20
# 86.4 to 86.5 % before and 86.3 to 86.4 % after.
#
# A trained convolution has filters that do little and filters that do what others do. Two scores tell them apart (after Tang et al.
# 2023). Let $K_{ji}$ be the kernel of filter $j$ on input channel $i$ and $p_{ji} = \lVert K_{ji} \rVert / \sum_i \lVert K_{ji} \rVert$:
#
# $$\text{capacity}_j = -\sum_i p_{ji} \log_2 p_{ji}, \qquad
#   \text{independence}_j = \frac{1}{n - 1} \sum_{k \ne j} \bigl(1 - \lvert\cos(K_j, K_k)\rvert\bigr).$$
#
# A filter has *capacity* when it draws on many of its inputs, and *independence* when no other filter of its layer points the same
# way. (With one input channel, as in depthwise filters, $p$ runs over the taps.) Both are scaled to $[0, 1]$ within the layer; their
# weighted sum is the filter's importance.
#
# **Removing means removing.** Channels that are added to one another, or passed on by a pool, are *tied*: they can only leave together.
# Each tied set keeps its most important channels, and what comes back is a smaller network, not a masked one. The released code
# multiplied the weights of an *untrained* network once by zeros and trained on: the zeros filled again, and nothing became smaller or
# faster.

# %% tags=["parameters"]
profile = "demo"
dataset = "edf20"          # whose stage-1 networks are pruned: "edf78", or the name of nights of one's own
subjects = [0, 1, 2, 3]    # those of stage 1; an empty list takes all
ratio = 0.5                # share of channels removed in every tied set (paper: 0.5)
balance = 0.5              # weight of capacity against independence (paper: a weighted sum, weights not given)
finetune_epochs = 4        # after pruning, at a fifth of the learning rate
ablation_seeds = [0]       # of table 8; the paper-sized profiles take three
ablation_search = {"epochs": 2, "batch": 64}  # what differs in its searches from stage 1's; {} changes nothing
ratios = [0.0, 0.5, 0.9]   # of the sweep (figure 13); an empty list leaves it out
sweep_folds = [0]          # folds that the sweep is made on; an empty list takes all
methods = ["importance", "random", "scratch"]  # that the sweep compares; also "l1", "released", "distilled"
variants = []              # also trained on every fold, as rows of their own: "released", "scratch", "distilled", "ensemble"
cost_repeats = 20          # timed answers of each network, runtime and length of epoch

# %%
from sleepkit.execution.notebooks import begin
from sleepkit.experiments import (
    Ablation, Pruning, Run, Sweep, ablate, calibrate, filter_importance, full_and_pruned,
    inference_cost, load_networks, paired_differences, prune_and_finetune, prune_other_dataset, pruning_checks,
    regrowth, sweep_ratios,
)
from sleepkit.paper import answer, as_table, figures, preview, settings_table, tables

# %%
run = Run(profile=profile, dataset=dataset, subjects=subjects)
pruning = Pruning(ratio=ratio, balance=balance, finetune_epochs=finetune_epochs, variants=variants)
ablation = Ablation(seeds=ablation_seeds, search=ablation_search)
sweep = Sweep(ratios=ratios, methods=methods, folds=sweep_folds)
begin("stage2_prune", vars())
print(f"Device: {run.device}")
as_table(settings_table(pruning, ablation, sweep))

# %% [markdown]
# ## Which filters are worth keeping
#
# The scores come from the networks that stage 1 trained, one per fold. Here are the filters of the first one.

# %%
networks = load_networks(run)
fold = networks[0].folds[0].number
scores = filter_importance(networks[0], pruning, run)
print(f"{scores.kept.mean():.0%} of the filters kept")

# %% tags=["nbval-ignore-output"]
print(f"{len(scores)} filters in {scores.layer.nunique()} layers, {int(scores.kept.sum())} kept; the first layers:")
means = {"capacity": "mean", "independence": "mean", "filter": "size", "kept": "sum"}
as_table(scores.groupby("layer", sort=False).agg(means).head(8).reset_index())

# %% tags=["nbval-ignore-output"]
note = f"This run: profile {profile}, network of fold {fold}, ratio {ratio:g}, balance {balance:g}."
figures.plot_importance(scores, note)

# %% [markdown]
# Filters that stay lie higher than those that are removed, but not strictly above the threshold of their layer: a channel is judged by
# the mean over *all* filters tied to it, and each layer is scaled by itself.
#
# ## Prune and fine-tune
#
# Every fold's network is pruned and trained for a few more epochs on the same training subjects. `variants` adds other ways for
# comparison, among them one that is not in the paper: *distilled* networks are trained as long and at the rate that the full one was,
# towards the mean of each epoch's stage and the probabilities that the full network gives it. Targets, rate and length differ at once;
# such a row says what pruned networks can reach, not which of the three it owes that to. The full network is then trained again in the
# same way: what pruning costs shows where both sides had as many epochs. *Ensemble* networks are distilled, too, but towards the mean of
# what the full networks of all seeds say: several rarely err alike, and one small network learns what they agree on.

# %%
crossval = prune_and_finetune(networks, pruning, run)

# %% tags=["nbval-ignore-output"]
comparison = full_and_pruned(run)
as_table(comparison)

# %% [markdown]
# Table 4 puts the published networks, whose pruned filters are zeros, beside these, stage by stage. They were made by another protocol:
# the published folds share sleepers between training and test.

# %% tags=["nbval-ignore-output"]
preview("tab06" if dataset == "edf78" else "tab04", run)

# %% [markdown]
# The same people staged twice: the difference in points of accuracy, the mean over subjects and seeds, and its 95 % interval (10,000
# bootstrap draws of subjects); each epoch alone, and both sides with the context of the night. Where a peer's predictions for the same
# epochs are known, the differences to it stand with them.

# %% tags=["nbval-ignore-output"]
differences = paired_differences(pruning, run)
accuracy = differences[differences.metric == "acc"].set_index(["comparison", "genotype", "cells"])
as_table((100 * accuracy[["difference", "low", "high"]]).reset_index())

# %% [markdown]
# **The other data set** is pruned and fine-tuned alike, for table 6 and figure 10; everything else here looks at the first one.

# %%
other = Run(profile=profile, dataset="edf78" if dataset == "edf20" else "edf20")
others = prune_other_dataset(pruning, other)

# %% tags=["nbval-ignore-output"]
"no other data set" if others is None else as_table(others)

# %% [markdown]
# ## How much can go?
#
# The same network pruned to several ratios by importance, at random and by the size of its weights (L1), each fine-tuned alike; and two
# fresh networks that get all epochs together: one as wide as the pruned one, from scratch, and one with the released code's mask. If
# importance finds what matters, its curve falls last; and if pruning is worth its two steps, the network from scratch lies below it. The
# demo leaves out L1 and the released masks, to be quick; table 8 below has both.

# %%
swept = sweep_ratios(networks, sweep, pruning, run)
print(f"{len(swept)} rows: {swept.method.nunique()} methods, ratios {sorted(swept.ratio.unique().tolist())}")

# %% tags=["nbval-ignore-output"]
tested = f"This run: profile {profile}; folds that were tested: {', '.join(map(str, sweep_folds)) or 'all'}."
figures.plot_sweep(swept, tested) if len(swept) else swept

# %% [markdown]
# **The masks of the released code** are multiplied into the weights once, before training. Nothing holds the zeros: the gradient of a
# zero weight is not zero, and Adam takes steps of full length however small a gradient is. Here is what is back after a few steps.

# %%
back = regrowth(networks, pruning, run)
print(f"{back.step.max()} steps of {back.seed.nunique()} network")

# %% tags=["nbval-ignore-output"]
as_table(back[back.step.isin([0, 1, 5, 20, 60])])

# %% [markdown]
# ## Was it the pruning?
#
# A smaller network that is trained for longer may well do better for other reasons. Table 8 therefore gives the same extra epochs to
# the full network, trains one of half the width from scratch, and prunes by other criteria. It begins with the search: without
# pruning, with data pruning, with operation pruning, with both. A network is trained on the epochs that the data pruning of its search
# left, where it had any. All rows are tested on the subjects of fold 0, whom the searches, too, have not seen.

# %%
table_8 = ablate(networks, ablation, pruning, run)

# %% tags=["nbval-ignore-output"]
as_table(tables.table_ablation(table_8))

# %% [markdown]
# In the demo these rows differ by chance more than by method: one seed, one small fold. What they show is that every row is computed.
#
# ## What the probabilities and the answers are worth
#
# A network that is right in 70 % of the epochs of which it says 70 % is *calibrated*. Networks are often surer than they should be; one
# number, the temperature by which all logits are divided, is fitted on the validation subjects. It mends part of that where other people
# are as the validation subjects are; a network that was calibrated already may lose by it.

# %% tags=["nbval-ignore-output"]
calibration = calibrate(networks, run)
figures.plot_calibration(calibration, f"This run: profile {profile}, test epochs of all folds, seed {networks[0].key.seed}.")

# %% [markdown]
# **What is to be seen.** Dots on the diagonal are right as often as they say. Faint dots are of few epochs and may lie anywhere.
#
# And an answer costs: on one thread of this processor, with PyTorch, with onnxruntime, and with 8-bit integers, at 5 s and at 30 s.
# onnxruntime computes blocks of 8 or 16 channels, however few of them a layer has. The paper's network (C = 8) has enough to gain from
# pruning there; one as narrow as the demo's (C = 4) takes as many blocks after as before, and its two files are alike in size and nearly
# in time.

# %% tags=["nbval-ignore-output"]
cost = inference_cost(networks, run, cost_repeats)
figures.plot_latency(cost, f"This run: profile {profile}, network of fold {fold}, one thread of {cost.processor[0]}.")

# %% tags=["nbval-ignore-output"]
as_table(tables.table_cost(cost))

# %% [markdown]
# ## The answer
#
# Published, this run, and the committed run on real nights (profile `first5s-cpu`: first 5 s of every epoch, 42,308 epochs of 20 people).

# %% tags=["nbval-ignore-output"]
as_table(answer("stage2", run))

# %% [markdown]
# ## Checks

# %%
verdict = pruning_checks(networks, table_8, pruning=pruning, ablation=ablation, run=run)
as_table(verdict)

# %%
assert verdict.holds.all(), verdict[~verdict.holds].to_string()
