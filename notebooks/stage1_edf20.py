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
# # Which network does the search find, and how good is it on new people? (EDF-20)
#
# **The paper's claim.** A differentiable search that drops uninformative samples and weak operations on its way finds a network for sleep staging:
# 86.5 % accuracy on EDF-20, by the authors' protocol.
#
# Designing a network means choosing, for every connection inside it, one operation out of ten. The search makes that choice
# differentiable (DARTS, Liu et al. 2019): every edge computes a *mixture* of all operations $o$,
#
# $$\bar o(x) = \sum_o w_o\, o(x), \qquad w = \mathrm{softmax}(\alpha / T),$$
#
# and the architecture parameters $\alpha$ are learnt by gradient descent like weights. Two *cells* repeat throughout the network, a
# normal one and one that halves the length; all cells of a kind share their $\alpha$. On every pair of mini-batches the search takes
# a step on $\alpha$ with samples of one half of the data (*validation*) and then a step on the weights with samples of the other
# (*training*), so that an operation earns its place on samples that its weights were not fitted to.
#
# Two kinds of pruning run inside the search:
#
# * **Bidirectional data pruning (BDP).** Every few epochs the variance of each sample's error over the last epochs (VoE) is taken.
#   Training samples with the *lowest* VoE teach nothing new; validation samples with the *highest* swing between stages and mislead
#   $\alpha$. Five per cent of each half go, within a limit per stage that protects rare stages.
# * **Differentiable operation pruning (DOP).** The temperature $T_t = 1.5 \cdot 0.95^t$ sharpens the softmax from epoch to epoch; an
#   operation whose weight falls below $\mu/|O| = 0.05$ is removed for good and is no longer computed.
#
# The demo searches a small network on a few simulated nights, so its numbers show that everything works, not how well it works on
# people. `notebooks/profiles/` holds the settings of the real runs.

# %% tags=["parameters"]
profile = "demo"
dataset = "edf20"             # or the name under which nights of one's own were prepared
subjects = [0, 1, 2, 3]       # of EDF-20; an empty list takes all that are prepared
search_channels = 4           # C of the search network (paper: 16)
search_cells = 3              # L (paper: 6)
search_nodes = 4              # N per cell (paper: 7); the last four are the cell's output
search_epochs = 4             # (paper: 25)
search_batch = 32             # as in the paper
alpha_lr = 0.1                # of Adam on alpha (paper: 0.0003; the demo takes 28 steps where the paper takes 16,000)
prune_every = 2               # epochs from one pruning round to the next (paper: 5)
origins = ["searched"]        # whose genotypes are trained: "searched", "published"
network_channels = 4          # C of the trained network (paper: 8)
network_cells = [3]           # depths L (paper: 7, 9, 11)
lr = [0.0055]                 # of Adam on the network, one of every depth or one for all (paper: 0.0055, 0.005, 0.005)
schedule = "constant"         # "cosine" lets the learning rate fall to zero over train_epochs
train_batch = 32              # (paper: 64)
train_epochs = 8              # at most (paper: 50)
protocols = ["subjectwise"]   # "epochwise" is the authors' own, which tests on epochs of training subjects
folds = 4                     # subjectwise folds (EDF-20 in the field: 10 or 20)
seeds = [0]
nested = {"epochs": 2, "batch": 64}  # of a search inside every fold: what differs from the search above; {} leaves these out

# %%
from sleepkit.evaluation.protocols import manifest, subject_folds
from sleepkit.evaluation.training import TrainSettings
from sleepkit.execution.notebooks import begin
from sleepkit.experiments import (
    Networks, Run, evaluation_checks, load_epochs, nested_report, search_architecture, search_checks,
    train_networks,
)
from sleepkit.paper import answer, as_table, figures, preview, settings_table
from sleepkit.paper.published import published_genotype, published_search
from sleepkit.results import read
from sleepkit.search.settings import SearchSettings

# %%
run = Run(profile=profile, dataset=dataset, subjects=subjects)
search = SearchSettings(channels=search_channels, cells=search_cells, nodes=search_nodes, epochs=search_epochs, batch=search_batch,
                        alpha_lr=alpha_lr, prune_every=prune_every)
training = TrainSettings(schedule=schedule, batch=train_batch, epochs=train_epochs)
networks = Networks(origins=origins, channels=network_channels, cells=network_cells, lr=lr, protocols=protocols, folds=folds,
                    seeds=seeds, nested=nested)
begin("stage1_edf20", vars())
print(f"Device: {run.device}")
as_table(settings_table(search, training, networks))

# %% [markdown]
# ## The search
#
# The epochs are split into halves of equal stage proportions. A progress bar shows loss, accuracy, and how many samples and
# operations are left; a search that was interrupted goes on from its last whole epoch.

# %%
epochs = load_epochs(run)
print(f"{len(epochs):,} epochs of {len(set(epochs.subject))} subjects, {epochs.x.shape[1]} samples each")
found = search_architecture(epochs, search, run)

# %%
curve = found.history[["epoch", "temperature", "n_train", "n_valid", "removed_train", "removed_valid"]]
as_table(curve)

# %% tags=["nbval-ignore-output"]
note = f"This run: profile {profile}, {len(epochs):,} epochs, one search, seed {search.seed}." + " Published: 42,308 epochs of 30 s." * (dataset == "edf20")
figures.plot_search(found.history, *published_search(dataset), note)

# %% [markdown]
# **What is to be seen.** Rounds of pruning are the dotted lines. Samples leave in fixed shares, whatever their stage, until a stage has
# given what it may; how many operations leave depends on what the search has learnt so far. In grey, the authors' own curves. (The released code kept training
# identities as positions in a shuffled loader, so that the training samples it removed were in effect drawn at random, and it went on
# computing the operations it had pruned.)

# %% tags=["nbval-ignore-output"]
as_table(found.removed_samples.pivot_table(index=["epoch", "half"], columns="stage", values="removed", sort=False).reset_index())

# %% [markdown]
# **What data pruning sees.** Let $f_t(x)$ be the logits for sample $x$ in epoch $t$ and $y$ its stage. Its error is the distance of the
# predicted distribution to the expert's, and what counts is how much that moves over the last $K$ epochs, one pruning interval:
#
# $$e_t(x) = \lVert \mathrm{softmax}(f_t(x)) - \mathrm{onehot}(y) \rVert_2, \qquad
#   \mathrm{VoE}(x) = \frac{1}{K} \sum_{k} \bigl(e_k(x) - \bar e(x)\bigr)^2 .$$
#
# An epoch of quiet wake is right from the start and stays right: its VoE is low, and the weights learn nothing more from it. An epoch
# between N1 and N2 is called now one, now the other: its VoE is high, and in the validation half it would push $\alpha$ to and fro. A
# *mislabelled* epoch is wrong and stays wrong, so VoE does not find label errors.

# %% tags=["nbval-ignore-output"]
voe, examples = (read(profile, f"{run.stage1}/{name}.npz") for name in ("voe", "examples"))
figures.plot_removed(voe, examples, note)

# %% [markdown]
# **What is to be seen.** Above, how VoE is distributed in either half, a row for each stage, with the number of epochs that left; below, one
# removed epoch of each stage where there is one. Removed epochs lie at the lower end in the training half and at the upper end in the
# validation half. Which stages they are of depends on the run: in a search as short as the demo's, chance decides more than sleep does.

# %% [markdown]
# **How $\alpha$ sharpens.** At the start all ten operations of an edge weigh the same. Two forces pull them apart: the gradient of the
# validation loss, and the temperature, which at $T = 1.5$ flattens every difference and below 1 exaggerates it,
#
# $$\frac{w_a}{w_b} = \exp\frac{\alpha_a - \alpha_b}{T}, \qquad T_t = 1.5 \cdot 0.95^t .$$
#
# Crossed are the operations that a round removes, grey those that are gone; the ringed ones make the cell at the end.

# %% tags=["nbval-ignore-output"]
figures.plot_sharpening(found.weights, found.removed_operations, found.history, found.genotype, note)

# %% [markdown]
# **What is to be seen.** All ten operations of an edge begin at 0.1, and their weights sum to 1: where one rises, others fall below the
# threshold and are crossed out. How many of each operation were removed, in either kind of cell:

# %% tags=["nbval-ignore-output"]
as_table(found.removed_operations.groupby(["epoch", "kind", "operation"]).size().unstack("operation", fill_value=0).reset_index())

# %% [markdown]
# ## The cells
#
# After the last epoch each node keeps the two incoming edges whose best operation is strongest, and on each that operation (`none`
# counts in the softmax but is never chosen). Above the published cell, below the one found here.

# %% tags=["nbval-ignore-output"]
figures.plot_cells(published_genotype(dataset), found.genotype, "normal", note)

# %% tags=["nbval-ignore-output"]
figures.plot_cells(published_genotype(dataset), found.genotype, "reduce", note)

# %% [markdown]
# **What is to be seen.** Each box is a node, each arrow an operation on what it comes from; two arrows enter every node. Half of the
# published normal cell's operations are separable convolutions, half of the reduction cell's are max pools. A search of a few epochs, as
# the demo's, has not had the time to prefer anything: another seed finds another cell.
#
# ## The discovered network, tested on people it has not met
#
# The genotype becomes a network of its own, trained from scratch. In the `subjectwise` protocol nobody is on two sides: the test
# subjects' nights are whole and untouched, mean and standard deviation come from the training subjects, and other subjects choose
# the epoch whose weights are kept. One thing remains optimistic: the *architecture* was searched on all nights, those of the test
# subjects among them. The rows `edf20-nested` are without that, too: every fold searches for a cell of its own, and prunes data, on
# its training and validation subjects, in a search that is smaller than the one above, as there are as many as folds.

# %%
manifest(epochs, subject_folds(epochs.subject, folds))

# %%
crossval = train_networks(epochs, found, search=search, training=training, networks=networks, run=run)

# %% [markdown]
# The published network of this depth, by the authors' protocol, beside this run's, stage by stage.

# %% tags=["nbval-ignore-output"]
preview("tab03", run)

# %% [markdown]
# **What is to be seen.** Where two columns are of different protocols, they do not answer the same question: the published folds share
# sleepers between training and test. N1 is the weakest row everywhere. Experts, too, agree on it least.

# %% tags=["nbval-ignore-output"]
preview("fig09", run)

# %% [markdown]
# **What is to be seen.** A row is a true stage, a cell the share of it that was called so. In the published matrices most errors of N1 go to
# its neighbours W, N2 and REM, and N3 is taken for N2.

# %% tags=["nbval-ignore-output"]
preview("fig11", run)

# %% [markdown]
# **What is to be seen.** Loss and accuracy per training epoch, published above and this run below. A gap that opens between training side
# and held-out side is overfitting: in the published folds the loss of the test fold rises while that of the training side still falls.

# %% [markdown]
# `context` is beyond the paper: a hidden Markov model smooths each night's probabilities, forward only as in real time or in both
# directions. Its transitions come from the training subjects' hypnograms; how much an epoch's evidence weighs in a whole night is
# chosen on the validation subjects, since neighbouring epochs are no independent witnesses. In the rows `both+rarity` they choose as
# well how far the class prior is divided out: a network that is too sure finds rare stages too often. Context always has rows
# of its own; the paper scores each epoch alone.
#
# **As many searches as folds: one architecture?** What each fold found for itself. Cells that differ and score alike say that the search finds one
# good network among many, not the only one.

# %% tags=["nbval-ignore-output"]
as_table(nested_report(run))

# %% [markdown]
# ## The answer
#
# Published, this run, and the committed run on real nights (profile `first5s-cpu`: first 5 s of every epoch, 42,308 epochs of 20 people).

# %% tags=["nbval-ignore-output"]
as_table(answer("stage1", run))

# %% [markdown]
# ## Checks

# %%
verdict = search_checks(found, epochs, search)
as_table(verdict)

# %%
outcome = evaluation_checks(crossval, epochs, networks, run)
as_table(outcome)

# %%
assert verdict.holds.all(), verdict[~verdict.holds].to_string()
assert outcome.holds.all(), outcome[~outcome.holds].to_string()
