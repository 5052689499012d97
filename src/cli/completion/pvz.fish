# Completion of pvz for fish. Write it to ~/.config/fish/completions/pvz.fish, or load it with:
# pvz completion fish | source

# Sets the candidates. Fails if fish is to complete the names of files.
function __pvz_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l program $words[1]
    command -q -- $program; or set program pvz
    set -g __pvz_candidates
    set -l lines (command $program __complete $words[2..] "$current" 2>/dev/null)
    set -l kind (string split -m 1 ' ' -- $lines[1])
    switch $kind[1]
        case files
            return 1
        case folders
            set -l start (string length -- "$kind[2]")
            set -l path (string sub -s (math $start + 1) -- "$current")
            set -g __pvz_candidates $kind[2](__fish_complete_directories "$path" Folder)
        case '*'
            set -g __pvz_candidates $lines[2..]
    end
    return 0
end

complete -c pvz -n __pvz_complete -f -a '$__pvz_candidates'
