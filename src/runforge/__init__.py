"""runforge: labelled data in; a trained, evaluated, recorded and reproducible model out."""
