# Completion of PROGRAM for fish.
function __PROGRAM_complete
    set -l words (commandline -opc)
    set -l typed (commandline -ct)
    set -l files 0
    set -l found 0
    for reply in ($words[1] __complete $words[2..-1] "$typed" 2>/dev/null)
        switch $reply
            case ':0'
                set files 1
            case ':*'
            case '*'
                set found 1
                echo $reply
        end
    end
    if test $files -eq 1 -a $found -eq 0
        __fish_complete_path "$typed"
    end
end
complete -c PROGRAM -f -a '(__PROGRAM_complete)'
