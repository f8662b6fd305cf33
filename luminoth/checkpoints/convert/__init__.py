"""Weights published by others, on their way into our models.

    safe_pickle.py    pickles read without running anything that stands in them
    torch_file.py     torch's files, both forms -> {name: array}
    pickle_file.py    Detectron2's pickles -> {name: array}
    mapping.py        {name: array} and our paths -> {our path: array}, every tensor accounted for
    torchvision.py    which of torchvision's tensors is which of ours
    detectron2.py     the same for Detectron2
    published.py      the published models: file, checksum, score, licence
    recognise.py      which of them a file is
    converter.py      the whole way, from a file to a checkpoint's folder
    own_weights.py    the same for weights of this project
    golden.py         what another implementation computed from weights that can be rebuilt
    parity.py         how near a converted model's numbers are to it
    models/           the configuration of each model

Everything but the last step and the comparison works without TensorFlow; nothing here needs torch.
"""
